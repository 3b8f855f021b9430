// The map: land only, centred on 150 E, a dot a node coloured by its state. It reads the tree's rows and nothing else.
(() => {
  "use strict";
  const host = document.getElementById("map");
  if (!host) return;
  const SVG = "http://www.w3.org/2000/svg";
  const WIDTH = 960;
  const NORTH = 76, SOUTH = -56;
  const make = (name, attributes, into) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    into?.append(element);
    return element;
  };
  const projection = d3.geoNaturalEarth1().rotate([-150, 0]).fitWidth(WIDTH, { type: "Sphere" });
  const path = d3.geoPath(projection);
  const top = projection([150, NORTH])[1], bottom = projection([150, SOUTH])[1];
  const svg = make("svg", { viewBox: `0 ${top} ${WIDTH} ${bottom - top}`, role: "img", "aria-label": host.dataset.label }, host);
  host.style.aspectRatio = `${WIDTH} / ${bottom - top}`; // nothing is cut off, whatever the width
  make("path", { class: "map-grid", d: path(d3.geoGraticule().step([30, 30])()) }, svg);
  const land = make("path", { class: "map-land" }, svg);
  const arcs = make("g", {}, svg), box = make("g", {}, svg), rings = make("g", {}, svg), dots = make("g", {}, svg);
  const drawn = new Map();

  fetch(host.dataset.land).then((answer) => answer.json()).then((world) => {
    land.setAttribute("d", path(topojson.feature(world, world.objects.land)));
  });

  const nodes = () => [...document.querySelectorAll("#tree-body > tr")].map((row) => {
    const { node, parent, state, country, depth, kind } = row.dataset;
    return { node, parent, state, country, kind, depth: +depth, at: [+row.dataset.lon, +row.dataset.lat], people: +row.dataset.recipients, help: row.dataset.help !== "0", name: row.querySelector(".node-name").textContent, said: row.querySelector(".state").textContent };
  });

  // The offices at home lie within a few pixels of each other: they get a window of their own in the empty Pacific.
  const WINDOW = { x: 574, y: 0, width: 112, height: 108, pad: 12 };
  function home(all) {
    const root = all.find((one) => one.depth === 0);
    const near = root ? all.filter((one) => one.country === root.country) : [];
    if (near.length < 3) return null;
    const lon = near.map((one) => one.at[0]), lat = near.map((one) => one.at[1]);
    const west = Math.min(...lon), south = Math.min(...lat);
    const squeeze = Math.cos((south * Math.PI) / 180);
    const spanX = Math.max((Math.max(...lon) - west) * squeeze, 1e-6), spanY = Math.max(Math.max(...lat) - south, 1e-6);
    const y = projection([150, 20])[1];
    const scale = Math.min((WINDOW.width - 2 * WINDOW.pad) / spanX, (WINDOW.height - 2 * WINDOW.pad) / spanY);
    const left = WINDOW.x + (WINDOW.width - spanX * scale) / 2, up = y + (WINDOW.height - spanY * scale) / 2;
    return { root, y, country: root.country, place: ([lonAt, latAt]) => [left + (lonAt - west) * squeeze * scale, up + spanY * scale - (latAt - south) * scale] };
  }

  // A bow on the page and not a great circle: those to South America would leave the map at one edge and return.
  const beam = ([x0, y0], [x1, y1]) => {
    const lift = Math.hypot(x1 - x0, y1 - y0) * 0.16;
    return `M${x0.toFixed(1)},${y0.toFixed(1)}Q${((x0 + x1) / 2).toFixed(1)},${((y0 + y1) / 2 - lift).toFixed(1)} ${x1.toFixed(1)},${y1.toFixed(1)}`;
  };

  function draw() {
    const all = nodes();
    const inset = home(all);
    box.replaceChildren();
    arcs.replaceChildren();
    dots.replaceChildren();
    rings.replaceChildren();
    drawn.clear();
    if (inset) {
      const [x, y] = projection(inset.root.at);
      make("path", { class: "map-lead", d: `M${x},${y}L${WINDOW.x},${inset.y}M${x},${y}L${WINDOW.x},${inset.y + WINDOW.height}` }, box);
      make("rect", { class: "map-inset", x: WINDOW.x, y: inset.y, width: WINDOW.width, height: WINDOW.height, rx: 5 }, box);
      make("text", { class: "map-inset-title", x: WINDOW.x + 6, y: inset.y - 5 }, box).textContent = inset.root.name;
    }
    for (const one of all) {
      const inside = inset && one.country === inset.country;
      const [x, y] = inside ? inset.place(one.at) : projection(one.at);
      const r = Math.min(2.6 + Math.sqrt(one.people) / 22, 7) * (one.depth === 0 ? 1.25 : 1);
      const arc = inset && !inside ? make("path", { d: beam(projection(inset.root.at), [x, y]) }, arcs) : null;
      const ring = make("circle", { class: "map-ring", cx: x, cy: y, r: r + 1 }, rings);
      const dot = make("circle", { cx: x, cy: y, r: one.kind === "county" ? r + 0.8 : r, "data-dot": one.node }, dots);
      const title = make("title", {}, dot);
      ring.addEventListener("animationend", () => ring.classList.remove("pulse"));
      drawn.set(one.node, { arc, ring, dot, title });
    }
    if (inset) make("circle", { class: "dot state-relayed", cx: projection(inset.root.at)[0], cy: projection(inset.root.at)[1], r: 2.5, "data-beacon": "" }, dots);
    colour(all);
  }

  function colour(all, changed = []) {
    const fresh = changed.map((node) => drawn.get(node)?.ring).filter(Boolean);
    for (const ring of fresh) ring.classList.remove("pulse");
    for (const one of all) {
      const { arc, dot, title } = drawn.get(one.node);
      dot.setAttribute("class", `dot state-${one.state}${one.help ? " has-help" : ""}`);
      title.textContent = `${one.name} · ${one.said}`;
      arc?.setAttribute("class", `map-arc state-${one.state}`);
    }
    if (fresh.length) svg.getBoundingClientRect(); // read, so that the animations begin anew; once for all, it is costly
    for (const ring of fresh) ring.classList.add("pulse");
  }

  document.addEventListener("fenghuo:changed", (event) => {
    const all = nodes();
    if (all.length !== drawn.size || all.some((one) => !drawn.has(one.node))) draw();
    else colour(all, event.detail);
  });
  draw();
})();
