"use strict";

// The table is there without this script, which sorts, searches and filters it, and draws the maps.
// All that it knows is in the page; it asks for nothing from anywhere.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const { colors } = data;
  const find = (selector, within = document) => within.querySelector(selector);
  const make = (tag, attributes = {}, ...inside) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...inside);
    return element;
  };
  const grouped = (count) => count.toLocaleString("en-US");
  const counted = (count, what) => `${grouped(count)} ${what}${count === 1 ? "" : "s"}`;
  const body = find("tbody");
  document.documentElement.classList.add("js");

  // ---- The rows, and the button in each that opens it.

  const rows = data.weights.map((weight, place) => {
    const line = document.getElementById(`w${place}`);
    const button = make("button", { type: "button", class: "open", "aria-expanded": "false" });
    const head = find("th", line);
    button.append(...head.childNodes);
    head.append(button);
    const words = [weight.path, weight.dtype, weight.kind, `(${weight.shape.join(", ")})`];
    const row = { weight, place, line, button, detail: null, open: false, shown: true, text: words.join(" ").toLowerCase() };
    line.addEventListener("click", (event) => {
      // Who marks a number to copy it does not want to open the row.
      if (!event.target.closest("a") && !String(getSelection())) toggle(row);
    });
    return row;
  });
  const rowOf = (element) => rows.find((row) => row.line === element || row.detail === element);

  function toggle(row, open = !row.open) {
    if (open && row.detail === null) {
      row.detail = detailOf(row);
      row.line.after(row.detail);
    }
    if (row.detail !== null) row.detail.hidden = !open || !row.shown;
    row.open = open;
    row.button.setAttribute("aria-expanded", String(open));
  }

  // ---- Sorting.

  const collator = new Intl.Collator("en", { numeric: true });
  const compare = (one, other) => {
    if (Array.isArray(one)) {
      // Shapes: by rank, then axis by axis.
      const place = one.findIndex((size, axis) => size !== other[axis]);
      return one.length - other.length || (place < 0 ? 0 : one[place] - other[place]);
    }
    return typeof one === "string" ? collator.compare(one, other) : one - other;
  };
  const order = { key: null, down: false };
  const heads = [...document.querySelectorAll("thead th")];
  const select = find(".sorting select");
  const turn = find(".turn");

  function sortBy(key, down) {
    Object.assign(order, { key, down });
    const sorted = [...rows];
    if (key !== null) {
      sorted.sort((one, other) => {
        const found = compare(one.weight[key], other.weight[key]);
        return (down ? -found : found) || one.place - other.place;
      });
    } else if (down) sorted.reverse();
    const lines = document.createDocumentFragment();
    for (const row of sorted) lines.append(row.line, ...(row.detail ? [row.detail] : []));
    body.append(lines);
    data.columns.forEach((column, place) => {
      const sort = column.key !== key ? "none" : down ? "descending" : "ascending";
      heads[place].setAttribute("aria-sort", sort);
    });
    select.value = key ?? "";
    turn.textContent = down ? "↓" : "↑";
  }

  data.columns.forEach((column, place) => {
    const head = heads[place];
    const button = make("button", { type: "button" }, ...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    // Of numbers the largest are asked for first, of names the first.
    button.addEventListener("click", () => {
      sortBy(column.key, order.key === column.key ? !order.down : !column.text);
    });
  });
  select.append(make("option", { value: "" }, "order in the model"));
  for (const column of data.columns) select.append(make("option", { value: column.key }, column.name));
  select.addEventListener("change", () => {
    const column = data.columns.find(({ key }) => key === select.value);
    sortBy(select.value || null, column !== undefined && !column.text);
  });
  turn.addEventListener("click", () => sortBy(order.key, !order.down));

  // ---- Search and filters.

  const search = find("input[type=search]");
  const boxes = [...document.querySelectorAll(".controls input[type=checkbox]")];
  const tests = {
    partly: (weight) => weight.frozen > 0 && weight.frozen < weight.size,
    changed: (weight) => weight.changed > 0,
    leaks: (weight) => weight.leaked > 0,
  };

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const asked = boxes.filter((box) => box.checked).map((box) => tests[box.name]);
    let shown = 0;
    for (const row of rows) {
      row.shown = words.every((word) => row.text.includes(word)) && asked.every((test) => test(row.weight));
      row.line.hidden = !row.shown;
      if (row.detail !== null) row.detail.hidden = !row.shown || !row.open;
      shown += row.shown;
    }
    const all = counted(rows.length, "weight");
    find(".count").textContent = shown === rows.length ? all : `${grouped(shown)} of ${all}`;
    find(".empty").hidden = shown > 0;
    find(".box").hidden = shown === 0;
  }

  search.addEventListener("input", filter);
  for (const box of boxes) box.addEventListener("change", filter);
  find("form").addEventListener("submit", (event) => event.preventDefault());

  // ---- Keys: from row to row, and out of what is open.

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches("input[type=search], select");
    if (event.key === "/" && !typing) {
      search.focus();
      search.select();
      event.preventDefault();
    } else if (event.key === "Escape" && event.target === search) {
      search.value = "";
      filter();
    } else if (event.key === "ArrowDown" && event.target === search) {
      const first = lines()[0];
      if (first) first.button.focus();
      event.preventDefault();
    }
  });

  const lines = () => [...body.children].map(rowOf).filter((row, place, all) => row.shown && all.indexOf(row) === place);

  body.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const row = rowOf(event.target.closest("tr"));
    if (event.key === "Escape") {
      toggle(row, false);
      row.button.focus();
    } else if (event.target === row.button) {
      const all = lines();
      const here = all.indexOf(row);
      const next = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 }[event.key];
      if (next === undefined) return;
      event.preventDefault();
      if (next < 0) search.focus();
      else if (next < all.length) all[next].button.focus();
    }
  });

  // ---- A link to a weight opens it.

  function follow() {
    const row = rows.find(({ place }) => location.hash === `#w${place}`);
    if (!row) return;
    if (!row.shown) {
      search.value = "";
      for (const box of boxes) box.checked = false;
      filter();
    }
    toggle(row, true);
    row.button.focus({ preventScroll: true });
    row.line.scrollIntoView({ block: "start" });
  }
  addEventListener("hashchange", follow);
  for (const link of document.querySelectorAll(".verdict a")) {
    // A second click on it changes no address.
    link.addEventListener("click", () => location.hash === link.hash && follow());
  }

  // ---- What a row opens.

  const number = (value) => {
    if (!value) return String(value);
    return value < 1e-4 || value >= 1e6 ? value.toExponential(2) : String(Number(value.toPrecision(3)));
  };
  const MORE = [
    ["trained", "train now"],
    ["slots_kept", "optimizer values kept"],
    ["slots_saved", "saved"],
    ["optimizer_bytes_kept", "optimizer bytes kept"],
    ["optimizer_bytes_saved", "saved"],
    ["delta_bytes", "delta bytes"],
    ["nonfinite", "NaN or infinite"],
  ];

  function detailOf(row) {
    const { weight } = row;
    const cell = make("td", { role: "cell", colspan: data.columns.length });
    if (weight.leaked) {
      const said = `${grouped(weight.leaked)} frozen ${weight.leaked === 1 ? "entry" : "entries"} moved`;
      cell.append(make("p", { class: "leaktext" }, `✕ ${said}, the first is `, make("bdi", {}, weight.first)));
    }
    if (weight.size) {
      const maps = make("div", { class: "maps" });
      const map = mapOf(weight);
      maps.append(figure("What is frozen", map, drawFrozen));
      if (data.compared) maps.append(figure("How far each entry moved", map, drawDrift));
      cell.append(maps);
    } else cell.append(make("p", {}, "It has no entries."));
    const more = make("dl", { class: "more" });
    for (const [key, name] of MORE) {
      if (weight[key] === null || weight[key] === undefined) continue;
      const value = make("dd", { "data-key": key }, grouped(weight[key]));
      more.append(make("div", {}, make("dt", {}, name), value));
    }
    cell.append(more);
    const line = make("tr", { role: "row", class: weight.leaked ? "detail leaking" : "detail" }, cell);
    row.button.setAttribute("aria-controls", (line.id = `detail${row.place}`));
    return line;
  }

  // ---- Maps: unpacked where they come into sight, and drawn again where their size changes.

  function mapOf(weight) {
    let cells = null;
    return {
      ...weight.map,
      weight,
      cells: () => (cells ??= unpack(weight.map)),
    };
  }

  async function unpack({ content, grid: [high, wide] }) {
    const packed = Uint8Array.from(atob(content), (sign) => sign.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    let at = 0;
    // Numbers of 32 bits, the lowest bytes of all of them first.
    const take = (count) => {
      const taken = new Uint32Array(count);
      for (let byte = 0; byte < 4; byte++) {
        for (let i = 0; i < count; i++) taken[i] |= bytes[at++] << (8 * byte);
      }
      return taken;
    };
    const cells = { high, wide, down: take(high + 1), across: take(wide + 1), frozen: take(high * wide) };
    if (at < bytes.length) {
      for (const name of ["moved", "leaked", "nonfinite"]) cells[name] = take(high * wide);
      cells.largest = new Float32Array(take(high * wide).buffer);
    }
    cells.size = (place) => {
      const row = Math.floor(place / wide), column = place % wide;
      return (cells.down[row + 1] - cells.down[row]) * (cells.across[column + 1] - cells.across[column]);
    };
    return cells;
  }

  const resized = new ResizeObserver((entries) => {
    for (const { target } of entries) target.redraw?.();
  });
  const seen = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      seen.unobserve(target);
      target.begin();
    }
  }, { rootMargin: "200px" });

  function figure(title, map, draw) {
    const { rows: down, columns: across, weight } = map;
    const name = `${title}: map of ${weight.path}. The arrows go from cell to cell.`;
    const canvas = make("canvas", { tabindex: "0", role: "img", "aria-label": name });
    const cursor = make("div", { class: "cursor" });
    cursor.hidden = true;
    const said = make("p", { class: "said", "aria-live": "polite" });
    const holder = make("div", { class: "map" }, canvas, cursor);
    const axes = [down, across].map(({ label, size }, side) => size > 1 ? `${"↓→"[side]} ${label}, ${grouped(size)}` : "");
    const parts = [make("figcaption", {}, title), make("p", { class: "axes" }, axes.filter(Boolean).join("   "))];
    if (across.names.length > 1) {
      parts.push(make("div", { class: "tilenames" }, ...across.names.map((tile) => make("span", {}, tile))));
    }
    // A strip for a vector; else as high as it is, within what is good to look at.
    const ratio = down.size / across.size;
    canvas.style.height = down.size === 1 ? "28px" : `${Math.round(Math.min(Math.max(ratio * 400, 60), 420))}px`;
    canvas.redraw = () => {};
    canvas.begin = async () => {
      const cells = await map.cells();
      canvas.redraw = () => draw(canvas, cells, map);
      canvas.redraw();
      canvas.dataset.drawn = "";
      resized.observe(canvas);
      tell(canvas, cursor, said, cells, map);
    };
    seen.observe(canvas);
    return make("figure", {}, ...parts, holder, said);
  }

  // A cell is a whole number of pixels of the canvas, so that none is lost; the browser fits it in.
  function prepare(canvas, { high, wide }) {
    const box = canvas.getBoundingClientRect();
    const sharp = devicePixelRatio || 1;
    const size = (length, cells) => Math.max(Math.ceil((length * sharp) / cells), 1) * cells;
    canvas.width = size(box.width || 400, wide);
    canvas.height = size(box.height || 28, high);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    // Pixels of the canvas for a pixel of the page, of a cell, and both ways.
    const unit = [canvas.width / (box.width || 400), canvas.height / (box.height || 28)];
    return { context, unit, cell: [canvas.width / wide, canvas.height / high] };
  }

  const rgb = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));

  // An image of one pixel a cell: `paint(place)` gives its colour as [r, g, b], or null for none.
  function image({ high, wide }, paint) {
    const made = make("canvas", { width: wide, height: high });
    const context = made.getContext("2d");
    const pixels = context.createImageData(wide, high);
    for (let place = 0; place < high * wide; place++) {
      const color = paint(place);
      if (color) pixels.data.set([...color, 255], 4 * place);
    }
    context.putImageData(pixels, 0, 0);
    return made;
  }

  function drawFrozen(canvas, cells, map) {
    const { context, unit } = prepare(canvas, cells);
    const trains = rgb(colors.trains), frozen = rgb(colors.frozen), partly = colors.partly.map(rgb);
    // The first and the last end of a colour are exact, and counts tell them.
    const ends = colors.shares.slice(1, -1);
    const shown = image(cells, (place) => {
      const count = cells.frozen[place], size = cells.size(place);
      if (count === 0) return trains;
      return count === size ? frozen : partly[ends.filter((end) => count / size >= end).length];
    });
    context.drawImage(shown, 0, 0, canvas.width, canvas.height);
    drawTiles(context, unit, canvas, map);
  }

  const stops = colors.drift.map(rgb);
  const [low, high] = data.scale.map(Math.log);
  const driftColor = (value) => {
    const along = value > 0 ? Math.min(Math.max((Math.log(value) - low) / (high - low), 0), 1) : 0;
    const at = Math.min(Math.floor(along * (stops.length - 1)), stops.length - 2);
    const rest = along * (stops.length - 1) - at;
    return stops[at].map((start, part) => Math.round(start + rest * (stops[at + 1][part] - start)));
  };

  function drawDrift(canvas, cells, map) {
    const { context, unit, cell } = prepare(canvas, cells);
    const equal = rgb(colors.equal), nonfinite = rgb(colors.nonfinite), leak = rgb(colors.leak);
    const shown = image(cells, (place) => {
      if (cells.leaked[place]) return leak;
      if (cells.nonfinite[place]) return nonfinite;
      return cells.moved[place] ? driftColor(cells.largest[place]) : equal;
    });
    context.drawImage(shown, 0, 0, canvas.width, canvas.height);
    const whole = (place) => cells.frozen[place] === cells.size(place);
    const some = (place) => cells.frozen[place] > 0 && !whole(place);
    hatch(context, unit, cells, 7, (place) => whole(place) && !cells.leaked[place]);
    hatch(context, unit, cells, 14, (place) => some(place) && !cells.leaked[place]);
    drawTiles(context, unit, canvas, map);
    ringLeaks(context, unit, cell, cells);
  }

  // Lines over the cells of which `test(place)` is true, `apart` pixels from one another.
  function hatch(context, unit, cells, apart, test) {
    const { width, height } = context.canvas;
    const lines = make("canvas", { width, height });
    const drawn = lines.getContext("2d");
    drawn.imageSmoothingEnabled = false;
    drawn.drawImage(image(cells, (place) => (test(place) ? [0, 0, 0] : null)), 0, 0, width, height);
    drawn.globalCompositeOperation = "source-in";
    drawn.fillStyle = stripes(drawn, unit, apart);
    drawn.fillRect(0, 0, width, height);
    context.drawImage(lines, 0, 0);
  }

  function stripes(context, unit, apart) {
    const sharp = 4;
    const tile = make("canvas", { width: apart * sharp, height: apart * sharp });
    const drawn = tile.getContext("2d");
    drawn.scale(sharp, sharp);
    drawn.strokeStyle = colors.hatch;
    drawn.lineWidth = 1.1;
    for (const shift of [-apart, 0, apart]) {
      drawn.moveTo(shift - 1, apart + 1);
      drawn.lineTo(shift + apart + 1, -1);
    }
    drawn.stroke();
    const pattern = context.createPattern(tile, "repeat");
    pattern.setTransform(new DOMMatrix([unit[0] / sharp, 0, 0, unit[1] / sharp, 0, 0]));
    return pattern;
  }

  function drawTiles(context, unit, { width, height }, { rows: down, columns: across }) {
    const line = (x, y, wide, tall) => {
      context.fillStyle = "#ffffff";
      context.fillRect(x - unit[0], y - unit[1], wide + 2 * unit[0] * !wide, tall + 2 * unit[1] * !tall);
      context.fillStyle = "#333333";
      context.fillRect(x - unit[0] / 2, y - unit[1] / 2, wide + unit[0] * !wide, tall + unit[1] * !tall);
    };
    for (const [{ tiles }, length, put] of [
      [across, width, (at) => line(at, 0, 0, height)],
      [down, height, (at) => line(0, at, width, 0)],
    ]) {
      for (let tile = 1; tile < tiles && tiles <= colors.lined; tile++) put((tile * length) / tiles);
    }
  }

  // One leaked cell of many is a pixel: it is made larger, and few of them have a ring.
  function ringLeaks(context, unit, cell, cells) {
    const found = [];
    cells.leaked.forEach((count, place) => count && found.push(place));
    context.fillStyle = colors.leak;
    for (const place of found) {
      const x = ((place % cells.wide) + 0.5) * cell[0], y = (Math.floor(place / cells.wide) + 0.5) * cell[1];
      const wide = Math.max(cell[0], 3 * unit[0]), tall = Math.max(cell[1], 3 * unit[1]);
      context.fillRect(x - wide / 2, y - tall / 2, wide, tall);
    }
    if (found.length > colors.rings) return;
    for (const [color, thick] of [["#ffffff", 4], [colors.leak, 2]]) {
      context.strokeStyle = color;
      context.lineWidth = thick * Math.max(...unit);
      for (const place of found) {
        const x = ((place % cells.wide) + 0.5) * cell[0], y = (Math.floor(place / cells.wide) + 0.5) * cell[1];
        context.beginPath();
        context.ellipse(x, y, Math.max(7 * unit[0], cell[0] * 0.75), Math.max(7 * unit[1], cell[1] * 0.75), 0, 0, 7);
        context.stroke();
      }
    }
  }

  // ---- What a cell says.

  // The entries from `start` to `stop` along a side of several axes, as ranges of these.
  function ranges(start, stop, sizes) {
    const places = (entry) => sizes.map((size, axis) => {
      const inner = sizes.slice(axis + 1).reduce((product, next) => product * next, 1);
      return Math.floor(entry / inner) % size;
    });
    const first = places(start), last = places(stop - 1);
    const parts = first.findIndex((place, axis) => place !== last[axis]);
    return first.map((place, axis) => {
      if (parts >= 0 && axis > parts) return sizes[axis] > 1 ? ":" : "0";
      return place === last[axis] ? String(place) : `${place}:${last[axis] + 1}`;
    });
  }

  function indexOf(cells, map, row, column) {
    const { order, down, weight } = map;
    const sizes = order.map((axis) => weight.shape[axis]);
    const found = [
      ...ranges(cells.down[row], cells.down[row + 1], sizes.slice(0, down)),
      ...ranges(cells.across[column], cells.across[column + 1], sizes.slice(down)),
    ];
    return `[${weight.shape.map((_, axis) => found[order.indexOf(axis)]).join(", ")}]`;
  }

  // "head 3", "gate forget": the tile of a side in which an entry lies.
  function tileOf({ tiles, inner, names, label }, entry) {
    if (tiles < 2 || inner < 2 || /^ax[ei]s/.test(label)) return "";
    const tile = Math.floor(entry / inner);
    return `${label.replace(/ \(.*/, "")} ${names[tile] ?? tile}`;
  }

  function describe(cells, map, row, column) {
    const place = row * cells.wide + column, size = cells.size(place), frozen = cells.frozen[place];
    const said = [indexOf(cells, map, row, column)];
    said.push(...[tileOf(map.rows, cells.down[row]), tileOf(map.columns, cells.across[column])].filter(Boolean));
    const share = Number(((100 * frozen) / size).toPrecision(3));
    if (size === 1) said.push(frozen ? "frozen" : "trains");
    else said.push(`${grouped(frozen)} of ${grouped(size)} entries frozen (${share}%)`);
    if (cells.largest) {
      const moved = cells.moved[place];
      if (!moved) said.push("exactly equal");
      else {
        if (size > 1) said.push(`${grouped(moved)} changed`);
        said.push(`${size > 1 ? "largest drift" : "drift"} ${number(cells.largest[place])}`);
        if (cells.nonfinite[place]) said.push(`${grouped(cells.nonfinite[place])} NaN or infinite`);
        if (cells.leaked[place]) said.push(`LEAK: ${grouped(cells.leaked[place])} frozen changed`);
      }
    }
    return said.join(" · ");
  }

  function tell(canvas, cursor, said, cells, map) {
    const limit = (value, most) => Math.min(Math.max(value, 0), most - 1);
    let at = null;
    const show = (row, column) => {
      at = [limit(row, cells.high), limit(column, cells.wide)];
      said.textContent = describe(cells, map, ...at);
      const wide = canvas.clientWidth / cells.wide, high = canvas.clientHeight / cells.high;
      Object.assign(cursor.style, {
        left: `${at[1] * wide - 1}px`, top: `${at[0] * high - 1}px`,
        width: `${Math.max(wide, 4) + 4}px`, height: `${Math.max(high, 4) + 4}px`,
      });
      cursor.hidden = false;
    };
    const leave = () => {
      cursor.hidden = document.activeElement !== canvas;
      if (cursor.hidden) said.textContent = "";
    };
    const point = ({ clientX, clientY }) => {
      const box = canvas.getBoundingClientRect();
      show(Math.floor(((clientY - box.top) / box.height) * cells.high), Math.floor(((clientX - box.left) / box.width) * cells.wide));
    };
    canvas.addEventListener("pointermove", point);
    canvas.addEventListener("pointerdown", point);
    canvas.addEventListener("pointerleave", leave);
    canvas.addEventListener("focus", () => at ?? show(0, 0));
    canvas.addEventListener("blur", () => { cursor.hidden = true; });
    canvas.addEventListener("keydown", (event) => {
      const [row, column] = at ?? [0, 0];
      const next = {
        ArrowDown: [row + 1, column], ArrowUp: [row - 1, column],
        ArrowRight: [row, column + 1], ArrowLeft: [row, column - 1],
        Home: [row, 0], End: [row, cells.wide - 1],
      }[event.key];
      if (!next) return;
      event.preventDefault();
      show(...next);
    });
    if (document.activeElement === canvas) show(0, 0);
  }

  // ---- The legend.

  const paints = {
    ...Object.fromEntries(["trains", "frozen", "equal", "nonfinite", "leak"].map((name) => [name, colors[name]])),
    partly: `linear-gradient(to right, ${colors.partly.map((color, at) => `${color} ${25 * at}% ${25 * at + 25}%`)})`,
    scale: `linear-gradient(to right, ${colors.drift})`,
    hatched: `repeating-linear-gradient(135deg, ${colors.hatch} 0 1px, ${colors.equal} 1px 5px)`,
    sparse: `repeating-linear-gradient(135deg, ${colors.hatch} 0 1px, ${colors.equal} 1px 10px)`,
  };
  for (const swatch of document.querySelectorAll(".swatch")) swatch.style.background = paints[swatch.dataset.color];

  filter();
  follow();
})();
