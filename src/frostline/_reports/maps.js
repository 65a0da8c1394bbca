"use strict";

// The maps of the weights: canvases that unpack and draw their cells when they come into view, and
// describe the cell that is pointed at.
const mapsOf = (data, make) => {
  const { colors } = data;
  const grouped = (count) => count.toLocaleString("en-US");
  const number = (value) => {
    if (!value) return String(value);
    return value < 1e-4 || value >= 1e6 ? value.toExponential(2) : String(Number(value.toPrecision(3)));
  };

  // ---- Unpacked when they come into view, and drawn again when their size changes.

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
    for (const { target } of entries) target.redraw();
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
    const axes = [["↓", down], ["→", across]].filter(([, side]) => side.size > 1);
    const named = axes.map(([sign, { label, size }]) => `${sign} ${label}, ${grouped(size)}`).join("\u2003");
    const parts = [make("figcaption", {}, title), make("p", { class: "axes" }, named)];
    if (across.names.length > 1) {
      parts.push(make("div", { class: "tilenames" }, ...across.names.map((tile) => make("span", {}, tile))));
    }
    // A strip for a vector; otherwise in proportion, within limits.
    const ratio = down.size / across.size;
    canvas.style.height = down.size === 1 ? "28px" : `${Math.round(Math.min(Math.max(ratio * 400, 60), 420))}px`;
    canvas.redraw = () => {};
    canvas.begin = async () => {
      if (typeof DecompressionStream === "undefined") {
        said.textContent = "This browser is too old to unpack the map; all numbers are in the table.";
        return;
      }
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

  // A cell is a whole number of pixels of the canvas, so that none is lost; the browser scales it.
  function prepare(canvas, { high, wide }) {
    const box = canvas.getBoundingClientRect();
    const sharp = devicePixelRatio || 1;
    const size = (length, cells) => Math.max(Math.ceil((length * sharp) / cells), 1) * cells;
    canvas.width = size(box.width || 400, wide);
    canvas.height = size(box.height || 28, high);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    // Pixels of the canvas in a pixel of the page, and in a cell, across and down.
    const unit = [canvas.width / (box.width || 400), canvas.height / (box.height || 28)];
    return { context, unit, cell: [canvas.width / wide, canvas.height / high] };
  }

  const rgb = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));

  // An image of one pixel a cell: `paint(place)` gives its colour as [r, g, b], or null for none.
  function image({ high, wide }, paint) {
    const made = make("canvas", { width: wide, height: high });
    const context = made.getContext("2d");
    const pixels = context.createImageData(wide, high);
    for (let place = 0, at = 0; place < high * wide; place++, at += 4) {
      const color = paint(place);
      if (!color) continue;
      for (let part = 0; part < 3; part++) pixels.data[at + part] = color[part];
      pixels.data[at + 3] = 255;
    }
    context.putImageData(pixels, 0, 0);
    return made;
  }

  function drawFrozen(canvas, cells, map) {
    const { context, unit } = prepare(canvas, cells);
    const trains = rgb(colors.trains), frozen = rgb(colors.frozen), partly = colors.partly.map(rgb);
    // The first and the last colour are for exactly none and all, which the counts decide.
    const ends = colors.shares.slice(1, -1);
    const shown = image(cells, (place) => {
      const count = cells.frozen[place], size = cells.size(place);
      if (count === 0) return trains;
      return count === size ? frozen : partly[ends.filter((end) => count / size >= end).length];
    });
    context.drawImage(shown, 0, 0, canvas.width, canvas.height);
    drawTiles(context, unit, canvas, map);
    // In most cells nothing is frozen, or all is: what is not so stands out in the other colour.
    const shares = Array.from(cells.frozen, (count, place) => count / cells.size(place));
    const [none, all] = [0, 1].map((exact) => shares.filter((share) => share === exact).length);
    if (shares.length > 2 * Math.max(none, all)) return;
    const other = image(cells, () => (all > none ? trains : frozen));
    drawMarks(context, unit, cells, other, (place) => Math.abs(shares[place] - (all > none)));
  }

  const stops = colors.drift.map(rgb);
  // The distances of the scale have colours that are evenly apart.
  const distances = data.scale.map(Math.log);
  const alongScale = (value) => {
    const above = distances.findIndex((stop) => value < stop);
    if (above <= 0) return above ? 1 : 0;
    const [low, high] = [distances[above - 1], distances[above]];
    return (above - 1 + (value - low) / (high - low)) / (distances.length - 1);
  };
  const driftColor = (value) => {
    const along = value > 0 ? alongScale(Math.log(value)) : 0;
    const at = Math.min(Math.floor(along * (stops.length - 1)), stops.length - 2);
    const rest = along * (stops.length - 1) - at;
    return stops[at].map((start, part) => Math.round(start + rest * (stops[at + 1][part] - start)));
  };

  function drawDrift(canvas, cells, map) {
    const { context, unit, cell } = prepare(canvas, cells);
    const equal = rgb(colors.equal), nonfinite = rgb(colors.nonfinite);
    const shown = image(cells, (place) => {
      if (cells.nonfinite[place]) return nonfinite;
      return cells.moved[place] ? driftColor(cells.largest[place]) : equal;
    });
    context.drawImage(shown, 0, 0, canvas.width, canvas.height);
    const whole = (place) => cells.frozen[place] === cells.size(place);
    const some = (place) => cells.frozen[place] > 0 && !whole(place);
    hatch(context, unit, cells, 7, (place) => whole(place) && !cells.leaked[place]);
    hatch(context, unit, cells, 14, (place) => some(place) && !cells.leaked[place]);
    drawTiles(context, unit, canvas, map);
    const still = cells.moved.filter((count) => !count).length > cells.moved.length / 2;
    drawMarks(context, unit, cells, shown, (place) => {
      if (cells.leaked[place]) return 0;
      return still ? cells.moved[place] / cells.size(place) : Number(!cells.moved[place]);
    });
    drawLeaks(context, unit, cell, cells);
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

  // Boxes of the cells for which `test(place)` is true: runs along rows, equal ones below one another.
  function boxes({ high, wide }, test) {
    const found = [];
    let above = new Map();
    for (let row = 0; row < high; row++) {
      const here = new Map();
      for (let left = 0, right; left < wide; left = right + 1) {
        for (right = left; right < wide && test(row * wide + right); right++);
        if (right === left) continue;
        const box = above.get(`${left} ${right}`) ?? found[found.push({ top: row, left, right }) - 1];
        box.bottom = row + 1;
        here.set(`${left} ${right}`, box);
      }
      above = here;
    }
    return found;
  }

  // What is smaller than two pixels is drawn larger, from `shown`, with a diamond; a band also has
  // lines along it. `part(place)` says how much of a cell differs from most of the map.
  function drawMarks(context, unit, cells, shown, part) {
    const { width, height } = context.canvas;
    const cell = [width / cells.wide, height / cells.high];
    const found = boxes(cells, (place) => part(place) > 0).map((box) => {
      let most = 0;
      for (let row = box.top; row < box.bottom; row++) {
        for (let at = box.left; at < box.right; at++) most = Math.max(most, part(row * cells.wide + at));
      }
      const [wide, tall] = [(box.right - box.left) * cell[0], (box.bottom - box.top) * cell[1]];
      const sizes = [wide / unit[0], tall / unit[1]];
      return { ...box, wide, tall, thin: Math.min(...sizes) * most < 2, spot: Math.max(...sizes) < 12 };
    }).filter(({ thin }) => thin);
    const few = (spot, most) => {
      const some = found.filter((box) => box.spot === spot);
      return some.length <= most ? some : [];
    };
    const marked = [...few(false, colors.bands), ...few(true, colors.rings)];
    for (const { top, bottom, left, right, wide, tall, spot } of marked) {
      const [w, h] = [Math.max(wide, 5 * unit[0]), Math.max(tall, 5 * unit[1])];
      const x = Math.min(Math.max(left * cell[0] + (wide - w) / 2, 0), width - w);
      const y = Math.min(Math.max(top * cell[1] + (tall - h) / 2, 0), height - h);
      context.drawImage(shown, left, top, right - left, bottom - top, x, y, w, h);
      const across = wide > tall, [a, b] = [8 * unit[0], 8 * unit[1]];
      const path = new Path2D();
      if (!spot && across) for (const at of [y - 3 * unit[1], y + h + 3 * unit[1]]) path.rect(x, at, w, 0);
      if (!spot && !across) for (const at of [x - 3 * unit[0], x + w + 3 * unit[0]]) path.rect(at, y, 0, h);
      // A band has its diamond at its end, inside the map.
      const middle = spot ? [x + w / 2, y + h / 2] : across ? [x + w - a, y + h / 2] : [x + w / 2, y + h - b];
      const [u, v] = [Math.min(Math.max(middle[0], a), width - a), Math.min(Math.max(middle[1], b), height - b)];
      const diamond = new Path2D();
      const [s, t] = spot ? middle : [u, v];
      for (const [p, q] of [[0, -b], [a, 0], [0, b], [-a, 0]]) diamond.lineTo(s + p, t + q);
      diamond.closePath();
      path.addPath(diamond);
      for (const [color, thick] of [["#ffffff", 4], [colors.mark, 2]]) {
        context.strokeStyle = color;
        context.lineWidth = thick * Math.max(...unit);
        context.stroke(path);
      }
    }
  }

  // A leaked cell may be smaller than a pixel: it is drawn larger, with a ring if there are few.
  function drawLeaks(context, unit, cell, cells) {
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

  // ---- The description of a cell.

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
    // A file does not say what trains.
    const free = { true: "trains", false: "does not train" }[map.weight.trains] ?? "not frozen";
    if (!data.freezeKnown) said.push("not known whether frozen");
    else if (size === 1) said.push(frozen ? "frozen" : free);
    else said.push(`${grouped(frozen)} of ${grouped(size)} entries frozen (${share}%)`);
    if (cells.largest) {
      const moved = cells.moved[place];
      if (!moved) said.push("bit-identical");
      else {
        if (size > 1) said.push(`${grouped(moved)} moved`);
        said.push(`${size > 1 ? "largest drift" : "drift"} ${number(cells.largest[place])}`);
        if (cells.nonfinite[place]) said.push(`${grouped(cells.nonfinite[place])} NaN or infinite`);
        if (cells.leaked[place]) said.push(`LEAK: ${grouped(cells.leaked[place])} frozen moved`);
      }
    }
    return said.join(" · ");
  }

  // A cell smaller than a pixel is hard to point at, so a leak is found from nearby.
  function leakNear(cells, row, column, [high, wide]) {
    let found = null, nearest = 1;
    if (!cells.leaked) return found;
    for (let y = Math.max(Math.floor(row - high), 0); y < Math.min(row + high, cells.high); y++) {
      for (let x = Math.max(Math.floor(column - wide), 0); x < Math.min(column + wide, cells.wide); x++) {
        if (!cells.leaked[y * cells.wide + x]) continue;
        // Inside its cell the distance is zero.
        const apart = [Math.abs(y + 0.5 - row), Math.abs(x + 0.5 - column)].map((way) => Math.max(way - 0.5, 0));
        const far = Math.hypot(apart[0] / high, apart[1] / wide);
        if (far < nearest) [found, nearest] = [[y, x], far];
      }
    }
    return found;
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
    const leave = ({ pointerType }) => {
      if (pointerType === "touch") return; // a finger leaves at once
      cursor.hidden = document.activeElement !== canvas;
      if (cursor.hidden) said.textContent = "";
    };
    const point = ({ clientX, clientY }) => {
      const box = canvas.getBoundingClientRect();
      const row = ((clientY - box.top) / box.height) * cells.high;
      const column = ((clientX - box.left) / box.width) * cells.wide;
      const near = [(4 * cells.high) / box.height, (4 * cells.wide) / box.width];
      show(...(leakNear(cells, row, column, near) ?? [Math.floor(row), Math.floor(column)]));
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
    mark: `radial-gradient(#ffffff 30%, ${colors.mark} 32% 48%, #ffffff 50%)`,
    scale: `linear-gradient(to right, ${colors.drift})`,
    hatched: `repeating-linear-gradient(135deg, ${colors.hatch} 0 1px, ${colors.equal} 1px 5px)`,
    sparse: `repeating-linear-gradient(135deg, ${colors.hatch} 0 1px, ${colors.equal} 1px 10px)`,
  };
  for (const swatch of document.querySelectorAll(".swatch")) swatch.style.background = paints[swatch.dataset.color];

  // The figures of a weight.
  return (weight) => {
    const map = mapOf(weight);
    const figures = [figure("What is frozen", map, drawFrozen)];
    if (data.compared) figures.push(figure("How far each entry moved", map, drawDrift));
    return figures;
  };
};
