// Draws the timeline from the data of sim/explain/lanes.rs. Everything is redrawn for each view, at most one mark per
// few pixels: a run of a hundred thousand events stays quick.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const box = document.getElementById("timeline"), tip = document.getElementById("tip");
  const list = document.getElementById("list"), listTitle = document.getElementById("list-title");
  const SERIES = ["appended", "submitted", "durable", "acknowledged", "checkpointed"];
  const WIDTHS = { appended: 6, submitted: 4, durable: 2.5, acknowledged: 1.5, checkpointed: 1.5 };
  const KINDS = { sync: ["sync_data", "sync_dir", "write_at_and_sync"], write: ["write_at", "allocate", "set_len"],
    read: ["read_at", "len", "link_count"] };
  const GUTTER = 104, BIN = 13, LIST_MAX = 250;
  // Every frame's own events are stairs; these are shown on demand.
  const QUIET = ["acknowledged", "epoch ended", "epoch closed", "coalesce", "seal", "segment prepared", "segment recycled", "roll", "decided",
    "Interrupted", "ShortRead", "ShortWrite", "WriteBack"];

  // ---- time and place: pauses are shortened, unless true time is asked for
  const times = (() => {
    const all = new Set([0, data.end]);
    for (const life of data.lives) { all.add(life.from); all.add(life.to); if (life.opened !== null) all.add(life.opened); }
    for (const mark of data.events) all.add(mark.t);
    for (const mark of data.faults) all.add(mark.t);
    for (const t of data.calls.from) all.add(t);
    for (const core of data.cores) for (let i = 0; i < core.appended.length; i += 2) all.add(core.appended[i]);
    return Float64Array.from(all).sort();
  })();
  const places = (() => {
    const gaps = Array.from(times, (t, i) => (i ? t - times[i - 1] : 0)).slice(1);
    const usual = gaps.slice().sort((a, b) => a - b)[Math.floor(gaps.length * 0.9)] || 1;
    const places = new Float64Array(times.length);
    gaps.forEach((gap, i) => {
      places[i + 1] = places[i] + (gap <= usual ? gap : usual * (1 + Math.log(gap / usual))) + usual * 0.05;
    });
    const end = places[places.length - 1] || 1;
    return places.map((place) => place / end);
  })();
  const search = (array, value) => { // the last index with array[index] <= value
    let low = 0, high = array.length - 1;
    while (low < high) { const mid = (low + high + 1) >> 1; if (array[mid] <= value) low = mid; else high = mid - 1; }
    return low;
  };
  const between = (from, to, value) => {
    const i = Math.min(search(from, value), from.length - 2), span = from[i + 1] - from[i];
    return to[i] + (to[i + 1] - to[i]) * (span > 0 ? Math.min(1, Math.max(0, (value - from[i]) / span)) : 0);
  };
  let trueTime = false, view = [0, 1], pin = null;
  const place = (t) => (trueTime ? t / data.end : times.length < 2 ? 0 : between(times, places, t));
  const unplace = (p) => (trueTime ? p * data.end : times.length < 2 ? 0 : between(places, times, p));
  const show = (ns) => ns < 1e3 ? ns.toFixed(0) + " ns" : ns < 1e6 ? (ns / 1e3).toFixed(1) + " µs"
    : ns < 1e10 ? (ns / 1e6).toFixed(3) + " ms" : (ns / 1e9).toFixed(3) + " s";

  // ---- filters
  const off = new Set();
  const filters = document.getElementById("filters");
  const group = (title, marks) => {
    const counts = new Map();
    for (const mark of marks) counts.set(mark.kind, (counts.get(mark.kind) || 0) + 1);
    if (!counts.size) return;
    filters.insertAdjacentHTML("beforeend", `<b>${title}</b>`);
    for (const [kind, count] of [...counts].sort()) {
      const label = document.createElement("label"), input = document.createElement("input");
      input.type = "checkbox";
      input.checked = !QUIET.includes(kind);
      const set = () => { input.checked ? off.delete(kind) : off.add(kind); label.classList.toggle("off", !input.checked); };
      input.onchange = () => { set(); draw(); };
      label.append(input, `${kind} ${count}`);
      filters.append(label);
      set();
    }
  };
  group("faults", data.faults);
  group("events", data.events);
  document.getElementById("legend").innerHTML = SERIES
    .map((name) => `<span><i class="swatch" style="background:var(--${name})"></i>${name}</span>`).join("")
    + ["read", "write", "sync"].map((name) => `<span><i class="swatch" style="background:var(--${name})"></i>${name}</span>`).join("");

  // ---- lanes
  const coreHeight = data.cores.length <= 2 ? 120 : data.cores.length <= 4 ? 92 : 64;
  const lanes = [["lives", 40], ["faults", 34], ["events", 34], ["disk", 50]]
    .concat(data.cores.map((_, core) => [`core ${core}`, coreHeight]));
  const TOP = 24;
  let at = TOP;
  for (const lane of lanes) { lane.push(at); at += lane[1] + 6; }
  const HEIGHT = at + 2;
  const lane = (name) => lanes.find((lane) => lane[0] === name);
  const esc = (text) => String(text).replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

  let width = 1200, X, inView;
  const hits = []; // what the pointer may find: {x0, x1, y0, y1, html}
  const draw = () => {
    width = Math.max(600, box.clientWidth);
    const plot = width - GUTTER - 12;
    X = (t) => GUTTER + ((place(t) - view[0]) / (view[1] - view[0])) * plot;
    const from = unplace(view[0]), to = unplace(view[1]);
    inView = (t) => t >= from && t <= to;
    hits.length = 0;
    const out = [];
    ticks(out, plot);
    for (const [name, height, y] of lanes) {
      out.push(`<rect x="${GUTTER}" y="${y}" width="${plot}" height="${height}" class="between"/>`);
      out.push(`<text x="10" y="${y + Math.min(height / 2 + 4, 20)}" font-weight="600">${name}</text>`);
    }
    out.push(`<svg x="${GUTTER}" y="0" width="${plot}" height="${HEIGHT}" viewBox="${GUTTER} 0 ${plot} ${HEIGHT}">`);
    bands(out, plot);
    marks(out, "faults", data.faults, "--fault");
    marks(out, "events", data.events, "--event");
    disk(out);
    data.cores.forEach((marks, core) => stairs(out, marks, core));
    crashes(out);
    out.push("</svg>");
    out.push(`<line id="cursor" class="cursor" y1="${TOP}" y2="${HEIGHT}" x1="-9" x2="-9"/>`);
    box.innerHTML = `<svg viewBox="0 0 ${width} ${HEIGHT}" height="${HEIGHT}">${out.join("")}</svg>`;
    fillList(from, to);
  };

  const ticks = (out, plot) => {
    const count = Math.max(2, Math.floor(plot / 130));
    for (let i = 0; i <= count; i++) {
      const x = GUTTER + (plot * i) / count, t = unplace(view[0] + ((view[1] - view[0]) * i) / count);
      const anchor = i === 0 ? "start" : i === count ? "end" : "middle";
      out.push(`<line class="rule" x1="${x}" x2="${x}" y1="18" y2="${HEIGHT}"/>`);
      out.push(`<text class="faint" x="${x}" y="14" text-anchor="${anchor}">${show(t)}</text>`);
    }
  };

  const bands = (out, plot) => {
    const [, height, y] = lane("lives");
    const left = GUTTER, right = GUTTER + plot;
    for (const life of data.lives) {
      const x0 = Math.max(left, X(life.from)), x1 = Math.min(right, X(life.to));
      if (x1 < left || x0 > right || X(life.to) < left) continue;
      const w = Math.max(1, x1 - x0 - 1);
      const open = life.opened === null ? x1 : Math.min(x1, Math.max(x0, X(life.opened)));
      out.push(`<rect class="life" x="${x0}" y="${y}" width="${w}" height="${height}"/>`);
      out.push(`<rect class="opening" x="${x0}" y="${y}" width="${Math.max(0, Math.min(w, open - x0))}" height="${height}"/>`);
      const label = w > 56 ? `life ${life.number}` : w > 12 ? life.number : "";
      out.push(`<text x="${x0 + 5}" y="${y + 16}">${label}</text>`);
      if (w > 150) out.push(`<text class="faint" x="${x0 + 5}" y="${y + 31}">${esc(clip(life.title.replace(/^life \d+: /, ""), w))}</text>`);
      const took = life.opened === null ? "never opened" : `opened in ${show(life.opened - life.from)}`;
      hits.push({ x0, x1: x0 + w, y0: y, y1: y + height,
        html: `<b>${esc(life.title)}</b><br>${show(life.from)} to ${show(life.to)}, ${took}; ended by ${life.end}` });
    }
  };
  const clip = (text, w) => { const n = Math.floor((w - 12) / 6.2); return text.length > n ? text.slice(0, Math.max(0, n - 1)) + "…" : text; };

  const crashes = (out) => {
    let last = -99;
    for (const life of data.lives) {
      if (!inView(life.to) || life.end === "end") continue;
      const x = X(life.to), y = TOP;
      out.push(`<line class="crash" x1="${x}" x2="${x}" y1="${y}" y2="${HEIGHT}"/>`);
      if (x - last > 16) out.push(`<text x="${x - 13}" y="${y + 38}" style="fill:var(--bad)">${life.end === "power loss" ? "⚡" : "✕"}</text>`);
      last = x;
    }
    if (data.broken) {
      const x = X(data.broken[0]);
      out.push(`<line class="brokenline" x1="${x}" x2="${x}" y1="${TOP}" y2="${HEIGHT}"/>`);
      out.push(`<text x="${x - 5}" y="${TOP + 12}" text-anchor="end" style="fill:var(--bad);font-weight:700">${esc(data.broken[1])} broken</text>`);
    }
    if (pin !== null) out.push(`<line class="pin" x1="${X(pin)}" x2="${X(pin)}" y1="${TOP}" y2="${HEIGHT}"/>`);
  };

  // Marks that would overlap are one mark with a count.
  const marks = (out, name, all, colour) => {
    const [, height, y] = lane(name), bins = new Map();
    for (const mark of all) {
      if (off.has(mark.kind) || !inView(mark.t)) continue;
      const bin = Math.floor(X(mark.t) / BIN);
      if (!bins.has(bin)) bins.set(bin, []);
      bins.get(bin).push(mark);
    }
    for (const [bin, of] of bins) {
      const x = of.length === 1 ? X(of[0].t) : (bin + 0.5) * BIN, cy = y + height / 2;
      const bad = of.some((mark) => mark.bad), fill = bad ? "var(--bad)" : `var(${colour})`;
      if (of.length === 1) out.push(`<rect x="${x - 3}" y="${cy - 8}" width="6" height="16" rx="2" style="fill:${fill}"/>`);
      else {
        out.push(`<rect x="${x - 6}" y="${cy - 8}" width="12" height="16" rx="3" style="fill:${fill}"/>`);
        out.push(`<text class="count" x="${x}" y="${cy + 3.5}">${of.length > 99 ? "+" : of.length}</text>`);
      }
      hits.push({ x0: x - 6, x1: x + 6, y0: y, y1: y + height, html: told(of) });
    }
  };
  const told = (of) => of.slice(0, 9).map((mark) => `<span class="faint">${show(mark.t)}</span> <b>${esc(mark.kind)}</b> `
    + esc(mark.core === null ? mark.text : mark.text || `core ${mark.core}`)).join("<br>") + (of.length > 9 ? `<br>and ${of.length - 9} more` : "");

  const kindOf = (operation) => Object.keys(KINDS).find((kind) => KINDS[kind].includes(operation)) || "names";
  const kinds = data.calls.operations.map(kindOf);
  const disk = (out) => {
    const [, height, y] = lane("disk"), calls = data.calls;
    const visible = [];
    for (let i = 0; i < calls.from.length; i++) {
      const to = calls.to[i] === null ? calls.from[i] : calls.to[i];
      if (to >= unplace(view[0]) && calls.from[i] <= unplace(view[1])) visible.push(i);
    }
    const rows = { read: 0, names: 0, write: 1, sync: 2 }, rowHeight = height / 3;
    if (visible.length <= 1500) {
      for (const i of visible) {
        const kind = kinds[calls.operation[i]], open = calls.to[i] === null;
        const x0 = X(calls.from[i]), x1 = open ? x0 + 8 : X(calls.to[i]), top = y + rows[kind] * rowHeight + 1;
        out.push(`<rect x="${x0}" y="${top}" width="${Math.max(1.5, x1 - x0)}" height="${rowHeight - 2}" opacity=".8" style="fill:var(--${kind})${open ? ";stroke:var(--bad)" : ""}"/>`);
        hits.push({ x0: x0 - 1, x1: Math.max(x1, x0 + 3), y0: top, y1: top + rowHeight, html:
          `<b>${calls.operations[calls.operation[i]]}</b> ${esc(calls.paths[calls.path[i]])} `
          + (calls.bytes[i] ? `bytes ${calls.first[i]} to ${calls.first[i] + calls.bytes[i]}` : "")
          + `<br><span class="faint">${show(calls.from[i])}, ${open ? "cut off by a crash" : "took " + show(calls.to[i] - calls.from[i])}</span>` });
      }
      return;
    }
    const bins = {}, step = 3;
    for (const i of visible) {
      const kind = kinds[calls.operation[i]], bin = Math.floor(X(calls.from[i]) / step);
      ((bins[kind] ||= new Map()).set(bin, (bins[kind].get(bin) || 0) + 1));
    }
    for (const kind of Object.keys(bins)) {
      const most = Math.max(...bins[kind].values());
      for (const [bin, count] of bins[kind]) {
        const h = Math.max(1.5, (rowHeight - 2) * Math.sqrt(count / most)), bottom = y + (rows[kind] + 1) * rowHeight;
        out.push(`<rect x="${bin * step}" y="${bottom - h}" width="${step}" height="${h}" style="fill:var(--${kind})" opacity=".8"/>`);
      }
    }
    hits.push({ x0: GUTTER, x1: width, y0: y, y1: y + height, quiet: true,
      html: `${visible.length} calls in view; from the top: reads and names, writes, syncs. Zoom in to see each.` });
  };

  // Each life has its own scale: from its first LSN in view to its last.
  const stairs = (out, core, index) => {
    const [, height, y] = lane(`core ${index}`);
    const from = unplace(view[0]), to = unplace(view[1]);
    for (const life of data.lives) {
      if (life.to < from || life.from > to || life.opened === null) continue;
      const parts = {};
      let low = Infinity, high = -Infinity;
      for (const name of SERIES) {
        const points = clipSeries(core[name], Math.max(from, life.opened), Math.min(to, life.to));
        parts[name] = points;
        for (const [, lsn] of points) { low = Math.min(low, lsn); high = Math.max(high, lsn); }
      }
      if (high < low) continue;
      const Y = (lsn) => y + height - 6 - ((lsn - low) / Math.max(1, high - low)) * (height - 22);
      const end = X(Math.min(to, life.to));
      for (const name of SERIES) {
        if (!parts[name].length) continue;
        let path = "", lastX = -1, lastY = null;
        for (const [t, lsn] of parts[name]) {
          const px = Math.max(GUTTER - 4, X(t)), py = Y(lsn);
          if (lastY === null) path = `M${px.toFixed(1)} ${py.toFixed(1)}`;
          else if (px - lastX >= 0.7 || py !== lastY) path += `H${px.toFixed(1)}V${py.toFixed(1)}`;
          lastX = px; lastY = py;
        }
        path += `H${end.toFixed(1)}`;
        const dash = name === "checkpointed" ? ' stroke-dasharray="5 3"' : "";
        out.push(`<path d="${path}" fill="none" stroke="var(--${name})" stroke-width="${WIDTHS[name]}"${dash}/>`);
      }
      const x0 = Math.max(GUTTER, X(Math.max(from, life.opened)));
      if (end - x0 > 110) out.push(`<text class="faint" x="${x0 + 5}" y="${y + 12}">LSN ${low} – ${high}</text>`);
    }
  };
  // The points of a series in an interval, with the value that it begins with.
  const clipSeries = (series, from, to) => {
    const points = [];
    let before = null;
    for (let i = 0; i < series.length; i += 2) {
      const t = series[i], lsn = series[i + 1];
      if (t > to) break;
      if (t < from) { before = lsn; continue; }
      if (lsn === null) break;
      if (!points.length && before !== null && t > from) points.push([from, before]);
      points.push([t, lsn]);
    }
    if (!points.length && before !== null) points.push([from, before]);
    return points;
  };
  const valueAt = (series, t) => {
    let value = null;
    for (let i = 0; i < series.length && series[i] <= t; i += 2) value = series[i + 1];
    return value;
  };

  // ---- the list below
  const fillList = (from, to) => {
    let all = data.events.concat(data.faults).filter((mark) => !off.has(mark.kind) && inView(mark.t)).sort((a, b) => a.t - b.t);
    const count = all.length;
    let first = 0;
    if (count > LIST_MAX) {
      const middle = pin === null ? (data.broken && inView(data.broken[0]) ? data.broken[0] : from) : pin;
      first = Math.max(0, Math.min(count - LIST_MAX, all.findIndex((mark) => mark.t >= middle) - LIST_MAX / 2));
      all = all.slice(first, first + LIST_MAX);
    }
    listTitle.textContent = `Events in view: ${count}` + (count > LIST_MAX ? `, of which ${first + 1} to ${first + LIST_MAX}; zoom in or click on a moment for others` : "");
    list.innerHTML = "<table>" + all.map((mark) => `<tr${mark.bad ? ' class="bad"' : ""}><td class="number">${show(mark.t)}</td>`
      + `<td>${mark.core === null ? "" : "core " + mark.core}</td><td><b>${esc(mark.kind)}</b></td><td>${esc(mark.text)}</td></tr>`).join("") + "</table>";
  };

  // ---- the pointer and the keys
  const clamp = (low, high) => {
    const span = Math.min(1, Math.max(1e-9, high - low));
    const start = Math.min(1 - span, Math.max(0, low));
    view = [start, start + span];
    draw();
  };
  const zoom = (factor, around) => {
    const middle = around === undefined ? (view[0] + view[1]) / 2 : around;
    clamp(middle - (middle - view[0]) * factor, middle + (view[1] - middle) * factor);
  };
  const placeOf = (event) => {
    const rect = box.getBoundingClientRect();
    return view[0] + ((event.clientX - rect.left - GUTTER) / (width - GUTTER - 12)) * (view[1] - view[0]);
  };
  box.addEventListener("wheel", (event) => { event.preventDefault(); zoom(event.deltaY > 0 ? 1.3 : 1 / 1.3, placeOf(event)); }, { passive: false });
  let drag = null;
  box.addEventListener("pointerdown", (event) => { drag = { x: event.clientX, view: view.slice(), moved: false }; box.setPointerCapture(event.pointerId); });
  box.addEventListener("pointerup", (event) => {
    if (drag && !drag.moved) { pin = unplace(Math.min(1, Math.max(0, placeOf(event)))); draw(); }
    drag = null;
  });
  box.addEventListener("pointermove", (event) => {
    if (drag) {
      const by = ((drag.x - event.clientX) / (width - GUTTER - 12)) * (drag.view[1] - drag.view[0]);
      if (Math.abs(drag.x - event.clientX) > 3) drag.moved = true;
      if (drag.moved) clamp(drag.view[0] + by, drag.view[1] + by);
      return;
    }
    hover(event);
  });
  box.addEventListener("pointerleave", () => { tip.hidden = true; });
  const hover = (event) => {
    const rect = box.getBoundingClientRect(), x = event.clientX - rect.left, y = event.clientY - rect.top;
    const cursor = document.getElementById("cursor");
    cursor.setAttribute("x1", x); cursor.setAttribute("x2", x);
    const found = hits.filter((hit) => x >= hit.x0 && x <= hit.x1 && y >= hit.y0 && y <= hit.y1);
    const t = unplace(Math.min(1, Math.max(0, placeOf(event))));
    let html = found.filter((hit) => !hit.quiet || found.length === 1).slice(0, 4).map((hit) => hit.html).join("<br>");
    const under = lanes.find(([, height, top]) => y >= top && y <= top + height);
    const core = under && under[0].startsWith("core ") ? data.cores[Number(under[0].slice(5))] : null;
    if (core) html = SERIES.map((name) => { const lsn = valueAt(core[name], t); return `<span style="color:var(--${name})">■</span> ${name} ${lsn === null ? "–" : "LSN " + lsn}`; }).join("<br>");
    tip.hidden = !html && x < GUTTER;
    tip.innerHTML = `<span class="faint">${show(t)}</span>${html ? "<br>" + html : ""}`;
    const left = Math.min(event.pageX + 14, document.documentElement.clientWidth - tip.offsetWidth - 10);
    tip.style.left = `${left}px`; tip.style.top = `${event.pageY + 16}px`;
  };
  const around = (t, lives) => {
    const life = data.lives.findLast((life) => life.from <= t);
    const index = life ? Math.max(0, data.lives.indexOf(life) - lives) : 0;
    const low = place(data.lives[index] ? data.lives[index].from : 0), high = place(t);
    pin = t;
    clamp(low, high + (high - low) * 0.06 + 1e-6);
  };
  document.getElementById("in").onclick = () => zoom(0.5);
  document.getElementById("out").onclick = () => zoom(2);
  document.getElementById("all").onclick = () => { pin = null; clamp(0, 1); };
  document.getElementById("true-time").onchange = (event) => {
    const [from, to] = view.map(unplace);
    trueTime = event.target.checked;
    clamp(place(from), place(to));
  };
  for (const button of document.querySelectorAll("[data-zoom]")) {
    button.onclick = () => { around(Number(button.dataset.zoom), 1); box.scrollIntoView({ block: "center" }); };
  }
  addEventListener("keydown", (event) => {
    if (event.target.closest("input, button, summary") || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = (view[1] - view[0]) / 5;
    const keys = { "+": () => zoom(0.7), "-": () => zoom(1.4), "0": () => clamp(0, 1),
      ArrowLeft: () => clamp(view[0] - step, view[1] - step), ArrowRight: () => clamp(view[0] + step, view[1] + step) };
    if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
  });
  // A link into a part that is folded opens it.
  const unfold = () => { for (let at = document.getElementById(location.hash.slice(1)); at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true; };
  addEventListener("hashchange", unfold);
  addEventListener("resize", draw);
  unfold();
  draw();
})();
