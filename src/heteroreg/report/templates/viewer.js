// The viewer of the page: a table of pairs, and the slices of the chosen one on a canvas. No library is needed;
// NiiVue, where the page carries it, adds a view of volumes in three dimensions.
"use strict";
(() => {
  const $ = (id) => document.getElementById("v-" + id);
  const head = JSON.parse($("data").textContent);
  const packed = [...document.querySelectorAll("script.v-pair")];
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const MOVING = "moving"; // in place of a method: the moving image as it was
  const NOTCH = 50; // how far a wheel turns for a slice: touchpads report a few pixels at a time
  const BEAT = 500; // ms between the two images of a flicker: one full change in a second

  const state = {
    pair: -1, slice: 0, method: "0", overlay: "", opacity: 0.5, fade: 0, contours: true, grid: false,
    flicker: 0, second: false, sort: null, down: false, point: null,
  };
  let images = null; // of the chosen pair, as the page holds them
  let layers = null; // what is drawn, unpacked
  let order = head.pairs.map((_, index) => index);
  let opening = 0;
  let turned = 0;

  // --- Unpacking: base64, deflate, differences along x.

  async function inflate(text) {
    const bytes = Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  const unpacked = new WeakMap();
  function codes(entry, width) {
    if (!entry) return null;
    if (!unpacked.has(entry)) {
      unpacked.set(entry, inflate(entry.data).then((found) => {
        for (let i = 0; i < found.length; i++) if (i % width) found[i] += found[i - 1];
        return found;
      }));
    }
    return unpacked.get(entry);
  }

  // --- Choosing.

  async function open(pair, slice) {
    const turn = ++opening;
    const content = pair === state.pair ? images : JSON.parse(packed[pair].textContent);
    if (state.method !== MOVING && !content.methods[state.method]) state.method = Object.keys(content.methods)[0];
    const own = content.methods[state.method];
    const count = content.shape[2];
    const width = content.shape[0];
    const moving = state.method === MOVING;
    const overlay = own && own[state.overlay];
    const found = await Promise.all([
      codes(content.images.fixed, width),
      codes(moving ? content.images.moving : own.moved, width),
      codes(content.images.fixed_labels, width),
      codes(moving ? content.images.moving_labels : own.moved_labels, width),
      codes(own && own.displacement, width),
      codes(overlay, width),
    ]);
    if (turn !== opening) return; // something else was chosen in the meantime
    const [fixed, moved, fixedLabels, movedLabels, displacement, map] = found;
    layers = { fixed, moved, fixedLabels, movedLabels, displacement, map, own, overlay };
    const fresh = pair !== state.pair;
    images = content;
    state.pair = pair;
    state.slice = Math.max(0, Math.min(count - 1, slice === undefined ? Math.floor(count / 2) : slice));
    if (fresh) state.point = null;
    controls();
    draw();
    await space.show();
    section.dataset.shown = `${pair} ${state.slice} ${state.method} ${state.overlay}`; // for whoever waits for it
  }

  const reopen = () => open(state.pair, state.slice);

  function setSlice(slice) {
    const last = images.shape[2] - 1;
    state.slice = Math.max(0, Math.min(last, slice));
    controls();
    draw();
    space.follow();
  }

  function step(by) {
    const place = order.indexOf(state.pair) + by;
    if (order[place] !== undefined) open(order[place]);
  }

  function choose(select, by) {
    const options = [...select.options].filter((option) => !option.disabled);
    const place = options.findIndex((option) => option.selected);
    select.value = options[(place + by + options.length) % options.length].value;
    select.dispatchEvent(new Event("change"));
  }

  // --- What is said about it.

  const number = (value) => Number(value.toPrecision(3)).toString().replace("-", "−");
  const percent = (share) => `${Math.round(100 * share)} %`;
  const methodName = () => (state.method === MOVING ? "moving, before registration" : `moved by ${head.methods[state.method].name}`);
  const title = () => head.pairs[state.pair];

  function place() {
    const count = images.shape[2];
    if (!images.slices) return "";
    const own = images.slices[state.slice];
    return count === 1 ? `slice ${own}` : `slice ${own}, ${state.slice + 1} of ${count}`;
  }

  function describe() {
    const shown = fade();
    const what = shown === 0 ? "fixed image" : shown === 1 ? methodName() : `${percent(1 - shown)} fixed, ${percent(shown)} ${methodName()}`;
    const map = layers.map ? `, overlay ${head.overlays[state.overlay].name} at ${percent(state.opacity)}` : "";
    return [title(), place(), what].filter(Boolean).join(", ") + map;
  }

  function controls() {
    const [, , count] = images.shape;
    $("name").textContent = title();
    $("place").textContent = place();
    $("slices").hidden = count < 2;
    $("slice").max = count - 1;
    $("slice").value = state.slice;
    $("slice").setAttribute("aria-valuetext", place());
    $("fade").value = Math.round(100 * state.fade);
    $("fade").setAttribute("aria-valuetext", `${percent(1 - state.fade)} fixed, ${percent(state.fade)} ${methodName()}`);
    for (const option of $("method").options) option.disabled = option.value !== MOVING && !images.methods[option.value];
    for (const option of $("overlay").options) option.disabled = option.value !== "" && !(layers.own && layers.own[option.value]);
    $("method").value = state.method;
    $("overlay").value = state.overlay;
    $("absent").hidden = !state.overlay || !!layers.map;
    $("opacity").disabled = !layers.map;
    $("opacity").setAttribute("aria-valuetext", percent(state.opacity));
    $("contours").disabled = !images.labels.length;
    $("grid").disabled = !layers.displacement;
    $("flicker").setAttribute("aria-pressed", String(state.flicker !== 0));
    const bar = $("bar");
    bar.hidden = !layers.map;
    if (layers.map) {
      const shown = head.overlays[state.overlay];
      const range = images.ranges[state.overlay];
      const stops = [...Array(12).keys()].map((k) => `#${shown.colours.substr(6 * Math.round(k * 255 / 11), 6)}`);
      bar.children[0].style.background = `linear-gradient(90deg, ${stops.join(", ")})`;
      bar.children[1].textContent = number(range[0]);
      bar.children[2].textContent = shown.unit;
      bar.children[3].textContent = number(range[1]);
    }
    const legend = state.contours ? images.labels.slice(0, 8) : [];
    $("labels").replaceChildren(...legend.map(([label, hue]) => {
      const item = document.createElement("li");
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = hue;
      item.append(swatch, `label ${label}`);
      return item;
    }));
    $("previous").disabled = order.indexOf(state.pair) === 0;
    $("next").disabled = order.indexOf(state.pair) === order.length - 1;
    for (const row of $("table").tBodies[0].rows) {
      if (Number(row.dataset.pair) === state.pair) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
    $("status").textContent = describe();
  }

  // --- Drawing.

  const fade = () => (state.flicker ? Number(state.second) : state.fade);
  const canvas = $("canvas");
  const pixels = document.createElement("canvas");

  function lookup(hex) {
    return Uint8Array.from(hex.match(/../g), (pair) => parseInt(pair, 16));
  }
  const tables = Object.fromEntries(Object.entries(head.overlays).map(([key, entry]) => [key, lookup(entry.colours)]));

  function blend(target) {
    const [width, height] = images.shape;
    const start = state.slice * width * height;
    const share = fade();
    const alpha = layers.map ? state.opacity : 0;
    const table = tables[state.overlay];
    let scale = 0;
    let shift = 0;
    if (layers.map) {
      const [low, high] = layers.overlay.limits;
      const [first, last] = images.ranges[state.overlay];
      scale = (high - low) / (last - first);
      shift = 255 * (low - first) / (last - first);
    }
    for (let i = 0; i < width * height; i++) {
      const grey = (1 - share) * layers.fixed[start + i] + share * layers.moved[start + i];
      const index = alpha ? 3 * Math.max(0, Math.min(255, Math.round(layers.map[start + i] * scale + shift))) : 0;
      for (let channel = 0; channel < 3; channel++) {
        target[4 * i + channel] = alpha ? (1 - alpha) * grey + alpha * table[index + channel] : grey;
      }
      target[4 * i + 3] = 255;
    }
  }

  // Marching squares: pieces of the lines on which value(x, y) is offset + k·step, k whole.
  function pieces(value, [left, top, right, bottom], step, offset) {
    const found = [];
    for (let y = top; y < bottom; y++) {
      for (let x = left; x < right; x++) {
        const corner = [value(x, y), value(x + 1, y), value(x + 1, y + 1), value(x, y + 1)];
        const low = Math.min(...corner);
        const high = Math.max(...corner);
        if (low === high) continue;
        for (let k = Math.ceil((low - offset) / step); k <= Math.floor((high - offset) / step); k++) {
          const level = offset + k * step;
          const ends = [];
          for (let side = 0; side < 4; side++) {
            const a = corner[side];
            const b = corner[(side + 1) % 4];
            if ((a < level) === (b < level)) continue;
            const t = (level - a) / (b - a);
            ends.push([[x + t, y], [x + 1, y + t], [x + 1 - t, y + 1], [x, y + 1 - t]][side]);
          }
          for (let end = 0; end + 1 < ends.length; end += 2) found.push([ends[end], ends[end + 1]]);
        }
      }
    }
    return found;
  }

  // Pieces joined to lines, so that dashes run on from one to the next.
  function joined(all) {
    const name = (point) => `${Math.round(2 * point[0])},${Math.round(2 * point[1])}`;
    const at = new Map();
    all.forEach((piece, index) => piece.forEach((point) => at.set(name(point), [...(at.get(name(point)) || []), index])));
    const used = new Set();
    const lines = [];
    for (let index = 0; index < all.length; index++) {
      if (used.has(index)) continue;
      used.add(index);
      const line = [...all[index]];
      for (let next = index; next !== undefined;) {
        const here = name(line[line.length - 1]);
        next = at.get(here).find((other) => !used.has(other));
        if (next === undefined) break;
        used.add(next);
        line.push(all[next][name(all[next][0]) === here ? 1 : 0]);
      }
      lines.push(line);
    }
    return lines;
  }

  function outline(context, labels, dashed, scale) {
    if (!labels) return;
    const [width, height] = images.shape;
    const start = state.slice * width * height;
    context.setLineDash(dashed ? [5 * scale.line, 4 * scale.line] : []);
    const boxes = new Map(); // of the labels in this slice, with a voxel around them
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const code = labels[start + y * width + x];
        if (!code) continue;
        const box = boxes.get(code) || [x - 1, y - 1, x + 1, y + 1];
        boxes.set(code, [Math.min(box[0], x - 1), Math.min(box[1], y - 1), Math.max(box[2], x + 1), Math.max(box[3], y + 1)]);
      }
    }
    // From the last to the first: of two labels that touch, the inner one is usually the first.
    for (const [code, box] of [...boxes].sort(([a], [b]) => b - a)) {
      const mask = (x, y) => Number(x >= 0 && y >= 0 && x < width && y < height && labels[start + y * width + x] === code);
      stroke(context, joined(pieces(mask, box, 1, 0.5)), images.labels[code - 1][1], 1.8, scale);
    }
    context.setLineDash([]);
  }

  // The lines along which the moving image is read where a straight grid lies on it.
  function grid(context, scale) {
    const [width, height, count] = images.shape;
    const size = width * height;
    const [low, high] = layers.own.displacement.limits;
    const every = Math.max(Math.max(width, height) / 20, 1);
    for (const axis of [0, 1]) {
      const start = (axis * count + state.slice) * size;
      const position = (x, y) => {
        const motion = low + layers.displacement[start + y * width + x] / 255 * (high - low);
        return (axis ? y : x) + motion / images.spacing[axis];
      };
      stroke(context, pieces(position, [0, 0, width - 1, height - 1], every, 0), "#56B4E9", 1.1, scale);
    }
  }

  function stroke(context, lines, hue, thick, scale) {
    context.beginPath();
    for (const line of lines) {
      line.forEach(([x, y], index) => context[index ? "lineTo" : "moveTo"]((x + 0.5) * scale.x, (y + 0.5) * scale.y));
    }
    context.strokeStyle = hue;
    context.lineWidth = thick * scale.line;
    context.lineJoin = "round";
    context.stroke();
  }

  function draw() {
    if (!layers) return;
    const [width, height] = images.shape;
    const ratio = width * images.spacing[0] / (height * images.spacing[1]);
    const box = canvas.parentElement.clientWidth;
    const across = Math.max(1, Math.floor(Math.min(box, ratio * Math.max(240, 0.72 * innerHeight))));
    const down = Math.max(1, Math.round(across / ratio));
    const dense = Math.max(1, devicePixelRatio || 1);
    canvas.style.width = `${across}px`;
    canvas.style.height = `${down}px`;
    canvas.width = Math.round(across * dense);
    canvas.height = Math.round(down * dense);
    pixels.width = width;
    pixels.height = height;
    const small = pixels.getContext("2d");
    const content = small.createImageData(width, height);
    blend(content.data);
    small.putImageData(content, 0, 0);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(pixels, 0, 0, canvas.width, canvas.height);
    const scale = { x: canvas.width / width, y: canvas.height / height, line: dense };
    if (state.grid && layers.displacement) grid(context, scale);
    if (state.contours) {
      outline(context, layers.fixedLabels, true, scale);
      outline(context, layers.movedLabels, false, scale);
    }
    canvas.setAttribute("aria-label", describe());
    readout();
  }

  function readout() {
    const [width, height] = images.shape;
    if (!state.point) {
      $("readout").textContent = "Point at the image to read its values.";
      return;
    }
    const [x, y] = state.point;
    const at = (state.slice * height + y) * width + x;
    const value = (code, limits) => number(limits[0] + code / 255 * (limits[1] - limits[0]));
    const grey = images.images.fixed.limits;
    const parts = [`x ${x}, y ${y}`, `fixed ${value(layers.fixed[at], grey)}`,
      `${state.method === MOVING ? "moving" : "moved"} ${value(layers.moved[at], grey)}`];
    if (layers.map) {
      const shown = head.overlays[state.overlay];
      parts.push(`${shown.name} ${value(layers.map[at], layers.overlay.limits)} ${shown.unit}`);
    }
    $("readout").textContent = parts.join(" · ");
  }

  // --- The table.

  const shownMetrics = () => ($("all").checked ? head.metrics.map((_, index) => index) : [...Array(head.main).keys()]);
  const score = (pair, metric) => head.scores[$("scores").value][metric][pair];
  const text = (value, digits) => (value === null ? "–" : value.toFixed(digits).replace("-", "−"));

  function sortPairs() {
    order = head.pairs.map((_, index) => index);
    if (state.sort === null) {
      if (state.down) order.reverse();
    } else {
      const sign = state.down ? -1 : 1;
      // What is not defined comes last, whichever way; equals stay in the order of the cohort.
      order.sort((a, b) => {
        const [x, y] = [score(a, state.sort), score(b, state.sort)];
        if (x === null || y === null) return (x === null) - (y === null) || a - b;
        return sign * (x - y) || a - b;
      });
    }
  }

  function heading(name, unit, metric) {
    const cell = document.createElement("th");
    cell.scope = "col";
    const button = document.createElement("button");
    button.type = "button";
    button.append(name);
    if (unit) {
      const part = document.createElement("span");
      part.className = "unit";
      part.textContent = ` ${unit}`;
      button.append(part);
    }
    if (metric !== null && head.metrics[metric].better) button.title = head.metrics[metric].better;
    button.dataset.metric = metric === null ? "" : metric;
    if (state.sort === metric) cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    button.addEventListener("click", () => {
      state.down = state.sort === metric ? !state.down : false;
      state.sort = metric;
      table();
      $("table").tHead.querySelector(`[data-metric="${button.dataset.metric}"]`).focus();
    });
    cell.append(button);
    return cell;
  }

  function table() {
    sortPairs();
    const metrics = shownMetrics();
    const row = document.createElement("tr");
    row.append(heading("Pair", "", null), ...metrics.map((index) => heading(head.metrics[index].name, head.metrics[index].unit, index)));
    $("table").tHead.replaceChildren(row);
    $("table").tBodies[0].replaceChildren(...order.map((pair) => {
      const line = document.createElement("tr");
      line.dataset.pair = pair;
      const first = document.createElement("th");
      first.scope = "row";
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.pairs[pair];
      first.append(button);
      line.append(first, ...metrics.map((index) => {
        const cell = document.createElement("td");
        cell.textContent = text(score(pair, index), head.metrics[index].digits);
        return cell;
      }));
      line.addEventListener("click", () => open(pair));
      return line;
    }));
    if (images) controls();
  }

  function download() {
    const quoted = (value) => `"${String(value).replaceAll('"', '""')}"`;
    const rows = [["evaluation", "id", ...head.metrics.map((one) => (one.unit ? `${one.key} (${one.unit})` : one.key))].map(quoted)];
    head.methods.forEach((method, index) => head.pairs.forEach((pair, place) => {
      rows.push([quoted(method.name), quoted(pair), ...head.scores[index].map((values) => values[place] ?? "")]);
    }));
    const address = URL.createObjectURL(new Blob([rows.map((row) => row.join(",") + "\n").join("")], { type: "text/csv" }));
    const link = document.createElement("a");
    link.href = address;
    link.download = "pairs.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }

  // --- Flicker: by itself, or from press to press where motion is not wanted.

  function flicker() {
    if (still.matches) {
      state.fade = state.fade < 0.5 ? 1 : 0;
    } else if (state.flicker) {
      stopFlicker();
    } else {
      state.second = false;
      state.flicker = setInterval(() => { state.second = !state.second; draw(); space.mix(); }, BEAT);
    }
    controls();
    draw();
    space.mix();
  }

  function stopFlicker() {
    clearInterval(state.flicker);
    state.flicker = 0;
  }

  // --- Volumes in three dimensions, by NiiVue.

  const space = {
    nv: null, opened: false, queue: Promise.resolve(),

    async toggle() {
      space.opened = !space.opened;
      $("cube").setAttribute("aria-pressed", String(space.opened));
      $("space").hidden = !space.opened;
      await reopen();
    },

    async start() {
      if (!document.createElement("canvas").getContext("webgl2")) throw new Error("this browser has no WebGL 2");
      const source = new TextDecoder().decode(await inflate($("niivue").textContent));
      const script = document.createElement("script");
      script.textContent = source; // the page's policy knows its hash
      document.head.append(script);
      const nv = new niivue.Niivue({
        dragAndDropEnabled: false, isOrientationTextVisible: false, isRadiologicalConvention: true,
        backColor: [0, 0, 0, 1], crosshairColor: [0.94, 0.89, 0.26, 0.9], crosshairWidth: 0.2, loadingText: "",
        multiplanarShowRender: 1, isNearestInterpolation: true, logLevel: "silent",
      });
      await nv.attachToCanvas($("space-canvas"));
      nv.setSliceType(nv.sliceTypeMultiplanar);
      for (const [key, table] of Object.entries(tables)) {
        const pick = (channel) => [...Array(256).keys()].map((k) => table[3 * k + channel]);
        nv.addColormap(`v-${key}`, { R: pick(0), G: pick(1), B: pick(2), A: Array(256).fill(255), I: [...Array(256).keys()] });
      }
      nv.onLocationChange = (where) => {
        const slice = where.vox && Math.round(where.vox[2]);
        if (where.vox && slice !== state.slice && slice >= 0 && slice < images.shape[2]) {
          state.slice = slice;
          controls();
          draw();
        }
      };
      space.nv = nv;
    },

    // One after the other, and only what is still wanted when its turn comes.
    show() {
      const turn = opening;
      space.queue = space.queue.then(() => (turn === opening ? space.load() : null));
      return space.queue;
    },

    async load() {
      const button = $("cube");
      if (!button) return;
      button.disabled = !images.volume;
      $("space").hidden = !space.opened || !images.volume;
      if ($("space").hidden) return;
      try {
        if (!space.nv) await space.start();
        const wanted = [["images", space.mixed(), "gray", 1, [0, 255]]];
        if (layers.map) {
          const [low, high] = layers.overlay.limits;
          const [first, last] = images.ranges[state.overlay].map((value) => 255 * (value - low) / (high - low));
          // NiiVue takes what is at the lower end for nothing and leaves it out.
          wanted.push([state.overlay, layers.map, `v-${state.overlay}`, state.opacity, [first - 0.5, last]]);
        }
        for (const old of [...space.nv.volumes].reverse()) space.nv.removeVolume(old);
        for (const [name, values, colormap, opacity, [low, high]] of wanted) {
          await space.nv.addVolumeFromUrl({
            url: `${name}.nii`, name: `${name}.nii`, buffer: nifti(values), colormap, opacity, cal_min: low, cal_max: high,
          });
        }
        space.follow();
      } catch (error) {
        $("space").hidden = true;
        $("cube").disabled = true;
        $("space-note").textContent = `No view in three dimensions: ${error.message}.`;
      }
    },

    // The two images as they are cross-faded, whole: as layers the darker one would not hide the brighter.
    mixed() {
      const share = fade();
      return layers.fixed.map((value, index) => Math.round((1 - share) * value + share * layers.moved[index]));
    },

    mix() {
      if (!space.nv || $("space").hidden || !space.nv.volumes.length) return;
      space.nv.volumes[0].img.set(space.mixed());
      if (layers.map) space.nv.volumes[1].opacity = state.opacity;
      space.nv.updateGLVolume();
    },

    follow() {
      if (!space.nv || $("space").hidden) return;
      const [width, height] = images.shape;
      const [x, y] = state.point || [Math.floor(width / 2), Math.floor(height / 2)];
      space.nv.scene.crosshairPos = space.nv.vox2frac([x, y, state.slice]);
      space.nv.drawScene();
    },
  };

  // A volume as the bytes of a NIfTI file. x runs to the patient's left and y to the back, as it is shown.
  function nifti(values) {
    const buffer = new ArrayBuffer(352 + values.length);
    const view = new DataView(buffer);
    const [sx, sy, sz] = images.spacing;
    view.setInt32(0, 348, true);
    [3, ...images.shape, 1, 1, 1, 1].forEach((size, index) => view.setInt16(40 + 2 * index, size, true));
    view.setInt16(70, 2, true); // unsigned bytes
    view.setInt16(72, 8, true);
    [1, sx, sy, sz, 0, 0, 0, 0].forEach((size, index) => view.setFloat32(76 + 4 * index, size, true));
    view.setFloat32(108, 352, true);
    view.setFloat32(112, 1, true);
    view.setUint8(123, 2); // mm
    view.setInt16(254, 1, true);
    [-sx, 0, 0, 0, 0, -sy, 0, 0, 0, 0, sz, 0].forEach((value, index) => view.setFloat32(280 + 4 * index, value, true));
    [0x6e, 0x2b, 0x31, 0].forEach((byte, index) => view.setUint8(344 + index, byte));
    new Uint8Array(buffer, 352).set(values);
    return buffer;
  }

  // --- Keys and pointers.

  const KEYS = {
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    ArrowUp: () => images.shape[2] > 1 && setSlice(state.slice - 1),
    ArrowDown: () => images.shape[2] > 1 && setSlice(state.slice + 1),
    f: flicker,
    o: () => choose($("overlay"), 1),
    O: () => choose($("overlay"), -1),
    m: () => choose($("method"), 1),
    c: () => !$("contours").disabled && $("contours").click(),
    g: () => !$("grid").disabled && $("grid").click(),
    "?": () => $("help").showModal(),
  };

  function key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open || !images) return;
    const arrow = event.key.startsWith("Arrow");
    // Sliders and lists have arrows and letters of their own; the table scrolls sideways.
    if (event.target.matches("select") || (arrow && event.target.matches("input[type=range], [role=region]"))) return;
    const act = KEYS[event.key];
    if (act && act() !== false) event.preventDefault();
  }

  function pointAt(event) {
    const box = canvas.getBoundingClientRect();
    const [width, height] = images.shape;
    const x = Math.floor((event.clientX - box.left) / box.width * width);
    const y = Math.floor((event.clientY - box.top) / box.height * height);
    state.point = x >= 0 && y >= 0 && x < width && y < height ? [x, y] : null;
    readout();
  }

  function wheel(event) {
    // Only where the viewer has been chosen: else a page that is scrolled past would stop at the image.
    if (!$("stage").contains(document.activeElement) || images.shape[2] < 2) return;
    event.preventDefault();
    turned += event.deltaY;
    if (Math.abs(turned) < NOTCH) return;
    setSlice(state.slice + Math.sign(turned));
    turned = 0;
  }

  // --- Start.

  const section = document.getElementById("viewer");
  section.hidden = false;
  for (const link of document.querySelectorAll("[data-needs-viewer]")) link.hidden = false;
  if (typeof DecompressionStream === "undefined") {
    $("browse").replaceChildren("This browser is too old for the viewer; the pictures below need nothing.");
    return;
  }
  $("scores").addEventListener("change", table);
  $("all").addEventListener("change", table);
  $("download").addEventListener("click", download);
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("slice").addEventListener("input", () => setSlice(Number($("slice").value)));
  $("fade").addEventListener("input", () => {
    stopFlicker();
    state.fade = Number($("fade").value) / 100;
    controls();
    draw();
    space.mix();
  });
  $("flicker").addEventListener("click", flicker);
  $("method").addEventListener("change", () => { state.method = $("method").value; reopen(); });
  $("overlay").addEventListener("change", () => { state.overlay = $("overlay").value; reopen(); });
  $("opacity").addEventListener("input", () => { state.opacity = Number($("opacity").value) / 100; controls(); draw(); space.mix(); });
  $("contours").addEventListener("change", () => { state.contours = $("contours").checked; controls(); draw(); });
  $("grid").addEventListener("change", () => { state.grid = $("grid").checked; draw(); });
  $("keys").addEventListener("click", () => $("help").showModal());
  $("close").addEventListener("click", () => $("help").close());
  if ($("cube")) $("cube").addEventListener("click", space.toggle);
  section.addEventListener("keydown", key);
  canvas.addEventListener("pointermove", pointAt);
  canvas.addEventListener("pointerdown", (event) => { pointAt(event); space.follow(); });
  canvas.addEventListener("wheel", wheel, { passive: false });
  new ResizeObserver(draw).observe(canvas.parentElement);
  table();
  // The last method is the one that a comparison is usually about; with a noise map it has more to show.
  state.method = String(head.methods.length - 1);
  $("method").value = state.method;
  open(0);
})();
