// The viewer of the page: a table of pairs, and the slices of the chosen one on a canvas; of volumes three planes.
"use strict";
(() => {
  const $ = (id) => document.getElementById("v-" + id);
  const head = JSON.parse($("data").textContent);
  const packed = [...document.querySelectorAll("script.v-pair")];
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const MOVING = "moving"; // in place of a method: the moving image as it was
  const NOTCH = 50; // how far a wheel turns for a slice: touchpads report a few pixels at a time
  const BEAT = 500; // ms between the two images of a flicker: one full change in a second
  const DIFFERENCE = "difference"; // the one overlay that is computed here
  const BESIDE = { noise_sd: "true_noise_sd", true_noise_sd: "noise_sd" }; // shown side by side
  const PLANES = { canvas: [0, 1, 2], beside: [0, 1, 2], coronal: [0, 2, 1], sagittal: [1, 2, 0] }; // across, down, through

  const state = {
    pair: -1, slice: 0, method: "0", overlay: "", opacity: 0.5, fade: 0, contours: true, band: true, grid: false,
    flicker: 0, second: false, sort: null, down: false, point: null, cross: [0, 0],
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
    const beside = own && own[state.overlay] && own[BESIDE[state.overlay]];
    const found = await Promise.all([
      codes(content.images.fixed, width),
      codes(moving ? content.images.moving : own.moved, width),
      codes(content.images.fixed_labels, width),
      codes(moving ? content.images.moving_labels : own.moved_labels, width),
      codes(own && own.displacement, width),
      codes(own && own[state.overlay], width),
      codes(beside, width),
      codes(moving ? null : own && own.error_95, width),
    ]);
    if (turn !== opening) return; // something else was chosen in the meantime
    const [fixed, moved, fixedLabels, movedLabels, displacement, values, second, error] = found;
    layers = { fixed, moved, fixedLabels, movedLabels, displacement, error, own, map: null, beside: null };
    if (state.overlay === DIFFERENCE) {
      const [low, high] = content.images.fixed.limits;
      layers.map = { values: fixed.map((value, index) => Math.abs(value - moved[index])), limits: [0, high - low] };
    } else if (values) {
      layers.map = { values, limits: own[state.overlay].limits };
    }
    if (second) layers.beside = { values: second, limits: beside.limits };
    const fresh = pair !== state.pair;
    images = content;
    state.pair = pair;
    state.slice = Math.max(0, Math.min(count - 1, slice === undefined ? Math.floor(count / 2) : slice));
    if (fresh) {
      state.point = null;
      state.cross = [Math.floor(width / 2), Math.floor(content.shape[1] / 2)];
      numbers();
    }
    controls();
    draw();
    section.dataset.shown = `${pair} ${state.slice} ${state.method} ${state.overlay}`;
  }

  const reopen = () => open(state.pair, state.slice);

  function setSlice(slice) {
    const last = images.shape[2] - 1;
    state.slice = Math.max(0, Math.min(last, slice));
    controls();
    draw();
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
    for (const option of $("overlay").options) option.disabled = !["", DIFFERENCE].includes(option.value) && !(layers.own && layers.own[option.value]);
    $("method").value = state.method;
    $("overlay").value = state.overlay;
    $("absent").hidden = !state.overlay || !!layers.map;
    $("opacity").disabled = !layers.map;
    $("opacity").setAttribute("aria-valuetext", percent(state.opacity));
    $("contours").disabled = !images.labels.length;
    $("band").disabled = !layers.error || !state.contours || !layers.movedLabels;
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
      item.append(swatch, head.labels[label] ?? `label ${label}`);
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

  // One plane through the crosshair: its size, and the voxel behind each of its pixels.
  function plane(name) {
    const [a, b, through] = PLANES[name];
    const { shape, spacing } = images;
    const strides = [1, shape[0], shape[0] * shape[1]];
    const place = [...state.cross, state.slice];
    const start = place[through] * strides[through];
    const [width, height] = [shape[a], shape[b]];
    const row = (j) => (b === 2 ? height - 1 - j : j); // slices run upwards
    return {
      name, a, b, through, width, height, row, mm: [width * spacing[a], height * spacing[b]], cross: [place[a], row(place[b])],
      at: (i, j) => start + i * strides[a] + row(j) * strides[b],
    };
  }

  function blend(target, shown, map) {
    const share = fade();
    const alpha = map ? state.opacity : 0;
    const table = tables[state.overlay];
    let scale = 0;
    let shift = 0;
    if (map) {
      const [low, high] = map.limits;
      const [first, last] = images.ranges[state.overlay];
      scale = (high - low) / (last - first);
      shift = 255 * (low - first) / (last - first);
    }
    for (let j = 0, pixel = 0; j < shown.height; j++) {
      for (let i = 0; i < shown.width; i++, pixel += 4) {
        const voxel = shown.at(i, j);
        const grey = (1 - share) * layers.fixed[voxel] + share * layers.moved[voxel];
        const index = alpha ? 3 * Math.max(0, Math.min(255, Math.round(map.values[voxel] * scale + shift))) : 0;
        for (let channel = 0; channel < 3; channel++) {
          target[pixel + channel] = alpha ? (1 - alpha) * grey + alpha * table[index + channel] : grey;
        }
        target[pixel + 3] = 255;
      }
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

  // Code and pieces of the contour of each label in this plane.
  function contours(labels, shown) {
    const { width, height } = shown;
    const boxes = new Map(); // of the labels in this plane, with a voxel around them
    for (let y = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        const code = labels[shown.at(x, y)];
        if (!code) continue;
        const box = boxes.get(code) || [x - 1, y - 1, x + 1, y + 1];
        boxes.set(code, [Math.min(box[0], x - 1), Math.min(box[1], y - 1), Math.max(box[2], x + 1), Math.max(box[3], y + 1)]);
      }
    }
    // From the last to the first: of two labels that touch, the inner one is usually the first.
    return [...boxes].sort(([a], [b]) => b - a).map(([code, box]) => {
      const mask = (x, y) => Number(x >= 0 && y >= 0 && x < width && y < height && labels[shown.at(x, y)] === code);
      return [code, pieces(mask, box, 1, 0.5)];
    });
  }

  function outline(context, labels, dashed, scale, shown) {
    if (!labels) return;
    context.setLineDash(dashed ? [5 * scale.line, 4 * scale.line] : []);
    for (const [code, found] of contours(labels, shown)) {
      stroke(context, joined(found), images.labels[code - 1][1], 1.8, scale);
    }
    context.setLineDash([]);
  }

  // The band in which the true contour lies: the error bars' half-width to both sides of the moved one.
  function band(context, scale, shown) {
    const [low, high] = layers.own.error_95.limits;
    const widths = head.methods[Number(state.method)].widths; // by label, in units of the map
    const size = Math.min(scale.x * shown.width / shown.mm[0], scale.y * shown.height / shown.mm[1]); // of a mm
    const layer = document.createElement("canvas");
    layer.width = context.canvas.width;
    layer.height = context.canvas.height;
    const over = layer.getContext("2d");
    over.lineCap = "round";
    context.globalAlpha = 0.3;
    for (const [code, found] of contours(layers.movedLabels, shown)) {
      over.clearRect(0, 0, layer.width, layer.height);
      const width = widths[images.labels[code - 1][0]] || 1;
      for (const [[x, y], [to, down]] of found) {
        const column = Math.max(0, Math.min(shown.width - 1, Math.round((x + to) / 2)));
        const row = Math.max(0, Math.min(shown.height - 1, Math.round((y + down) / 2)));
        const half = width * (low + layers.error[shown.at(column, row)] / 255 * (high - low));
        stroke(over, [[[x, y], [to, down]]], images.labels[code - 1][1], 2 * half * size / scale.line, scale);
      }
      context.drawImage(layer, 0, 0);
    }
    context.globalAlpha = 1;
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

  function cross(context, shown, scale) {
    const [x, y] = shown.cross;
    const lines = [[[-0.5, y], [shown.width - 0.5, y]], [[x, -0.5], [x, shown.height - 0.5]]];
    context.globalAlpha = 0.6;
    stroke(context, lines, "#F0E442", 1, scale);
    context.globalAlpha = 1;
  }

  // Draws one plane into its canvas, `size` pixels of the page to a millimetre.
  function paint(shown, size, map) {
    const target = $(shown.name);
    const [across, down] = shown.mm.map((length) => Math.max(1, Math.floor(length * size)));
    const dense = Math.max(1, devicePixelRatio || 1);
    target.style.width = `${across}px`;
    target.style.height = `${down}px`;
    target.width = Math.round(across * dense);
    target.height = Math.round(down * dense);
    pixels.width = shown.width;
    pixels.height = shown.height;
    const small = pixels.getContext("2d");
    const content = small.createImageData(shown.width, shown.height);
    blend(content.data, shown, map);
    small.putImageData(content, 0, 0);
    const context = target.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(pixels, 0, 0, target.width, target.height);
    const scale = { x: target.width / shown.width, y: target.height / shown.height, line: dense };
    if (state.grid && layers.displacement && shown.through === 2) grid(context, scale);
    if (state.contours && state.band && layers.error && layers.movedLabels) band(context, scale, shown);
    if (state.contours) {
      outline(context, layers.fixedLabels, true, scale, shown);
      outline(context, layers.movedLabels, false, scale, shown);
    }
    if (images.volume) cross(context, shown, scale);
  }

  function draw() {
    if (!layers) return;
    $("beside").hidden = !layers.beside;
    $("planes").hidden = !images.volume;
    const room = canvas.parentElement.clientWidth - 8; // the gap between two planes
    const main = plane("canvas");
    const [wide, tall] = main.mm;
    const fit = (width, height, share) => Math.min(width, Math.max(240, share * innerHeight) / height);
    if (images.volume) {
      const others = [plane("coronal"), plane("sagittal")];
      const size = fit(room / Math.max(wide + tall, layers.beside ? 2 * wide : 0), Math.max(tall, others[0].mm[1]), 0.45);
      for (const one of [main, ...others]) paint(one, size, layers.map);
      if (layers.beside) paint(plane("beside"), size, layers.beside);
    } else {
      const size = layers.beside ? fit(room / (2 * wide), tall, 0.72) : fit((room + 8) / wide, tall, 0.72);
      paint(main, size, layers.map);
      if (layers.beside) paint(plane("beside"), size, layers.beside);
    }
    canvas.setAttribute("aria-label", describe());
    $("sides").hidden = !layers.beside;
    if (layers.beside) {
      const other = head.overlays[BESIDE[state.overlay]].name;
      $("beside").setAttribute("aria-label", `${other} of the same slice`);
      $("sides").textContent = `Left: ${head.overlays[state.overlay].name}. Right: ${other}.`;
    }
    readout();
  }

  function readout() {
    if (!state.point) {
      $("readout").textContent = "Point at the image to read its values.";
      return;
    }
    const { place, voxel } = state.point;
    const value = (code, limits) => number(limits[0] + code / 255 * (limits[1] - limits[0]));
    const grey = images.images.fixed.limits;
    const names = images.volume ? ["x", "y", "slice"] : ["x", "y"];
    const parts = [names.map((name, axis) => `${name} ${place[axis]}`).join(", "), `fixed ${value(layers.fixed[voxel], grey)}`,
      `${state.method === MOVING ? "moving" : "moved"} ${value(layers.moved[voxel], grey)}`];
    for (const [key, map] of [[state.overlay, layers.map], [BESIDE[state.overlay], layers.beside]]) {
      if (map) parts.push(`${head.overlays[key].name} ${value(map.values[voxel], map.limits)} ${head.overlays[key].unit}`);
    }
    $("readout").textContent = parts.join(" · ");
  }

  // The scores of the pair, a row for each method.
  function numbers() {
    const cell = (kind, content, scope) => {
      const one = document.createElement(kind);
      one.textContent = content;
      if (scope) one.scope = scope;
      return one;
    };
    const line = (...cells) => {
      const row = document.createElement("tr");
      row.append(...cells);
      return row;
    };
    const metrics = head.metrics.slice(0, head.main);
    const headings = metrics.map((one) => {
      const heading = cell("th", one.short, "col");
      heading.title = one.name;
      if (one.unit) heading.append(unit(one.unit));
      return heading;
    });
    $("metrics").replaceChildren(line(cell("th", "Evaluation", "col"), ...headings));
    $("numbers").replaceChildren(...head.methods.map((method, index) => line(
      cell("th", method.name, "row"),
      ...metrics.map((one, place) => cell("td", text(head.scores[index][place][state.pair], one.digits))),
    )));
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

  function unit(words) {
    const part = document.createElement("span");
    part.className = "unit";
    part.textContent = ` ${words}`;
    return part;
  }

  function heading(name, unitText, metric) {
    const cell = document.createElement("th");
    cell.scope = "col";
    const button = document.createElement("button");
    button.type = "button";
    button.append(name);
    if (unitText) button.append(unit(unitText));
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
      state.flicker = setInterval(() => { state.second = !state.second; draw(); }, BEAT);
    }
    controls();
    draw();
   
  }

  function stopFlicker() {
    clearInterval(state.flicker);
    state.flicker = 0;
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
    if (!layers) return;
    const shown = plane(event.currentTarget.id.slice(2));
    const box = event.currentTarget.getBoundingClientRect();
    const i = Math.floor((event.clientX - box.left) / box.width * shown.width);
    const j = Math.floor((event.clientY - box.top) / box.height * shown.height);
    state.point = null;
    if (i >= 0 && j >= 0 && i < shown.width && j < shown.height) {
      const place = [...state.cross, state.slice];
      [place[shown.a], place[shown.b]] = [i, shown.row(j)];
      state.point = { place, voxel: shown.at(i, j) };
    }
    readout();
  }

  function moveCross(event) {
    pointAt(event);
    if (!images.volume || !state.point) return;
    const [x, y, slice] = state.point.place;
    state.cross = [x, y];
    setSlice(slice);
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
  if (typeof DecompressionStream === "undefined") return; // an old browser shows the figures
  section.hidden = false; // and hides the figures
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
   
  });
  $("flicker").addEventListener("click", flicker);
  $("method").addEventListener("change", () => { state.method = $("method").value; reopen(); });
  $("overlay").addEventListener("change", () => { state.overlay = $("overlay").value; reopen(); });
  $("opacity").addEventListener("input", () => { state.opacity = Number($("opacity").value) / 100; controls(); draw(); });
  $("band").addEventListener("change", () => { state.band = $("band").checked; draw(); });
  $("contours").addEventListener("change", () => { state.contours = $("contours").checked; controls(); draw(); });
  $("grid").addEventListener("change", () => { state.grid = $("grid").checked; draw(); });
  $("keys").addEventListener("click", () => $("help").showModal());
  $("close").addEventListener("click", () => $("help").close());
  section.addEventListener("keydown", key);
  for (const name of Object.keys(PLANES)) {
    $(name).addEventListener("pointermove", pointAt);
    $(name).addEventListener("pointerdown", moveCross);
  }
  canvas.addEventListener("wheel", wheel, { passive: false });
  new ResizeObserver(draw).observe(canvas.parentElement);
  table();
  // The last method is the one that a comparison is usually about; with a noise map it has more to show.
  state.method = String(head.methods.length - 1);
  $("method").value = state.method;
  open(0);
})();
