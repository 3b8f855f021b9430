// The console's behaviour beside htmx: connection and clock, folding and filtering of the tree, marks on what changed.
(() => {
  "use strict";
  const tree = document.getElementById("tree");
  const folded = new Set();
  const MANY = 30; // rows above which a page opens with its offices folded
  let show = "all";

  const rows = () => [...document.querySelectorAll("#tree-body > tr")];
  const silent = (row) => !["acknowledged", "relayed"].includes(row.dataset.state);
  const wanted = { all: () => true, silent, help: (row) => row.dataset.help !== "0" };

  // A row shows when nothing above it is folded; under a filter, when it or something below it passes.
  function arrange() {
    const all = rows();
    const byNode = new Map(all.map((row) => [row.dataset.node, row]));
    const passing = new Set();
    if (show !== "all") {
      for (const row of all.filter(wanted[show])) {
        for (let at = row; at && !passing.has(at.dataset.node); at = byNode.get(at.dataset.parent)) passing.add(at.dataset.node);
      }
    }
    const hiddenNodes = new Set();
    const beads = new Map();
    for (const row of all) {
      const { node, parent, state } = row.dataset;
      const under = show === "all" && (hiddenNodes.has(parent) || folded.has(parent));
      if (under) hiddenNodes.add(node);
      row.hidden = under || (show !== "all" && !passing.has(node));
      const button = row.querySelector(".fold");
      if (button) button.setAttribute("aria-expanded", String(show !== "all" || !folded.has(node)));
      if (row.dataset.kind === "station") beads.set(parent, [...(beads.get(parent) || []), state]);
    }
    for (const [parent, states] of beads) string(byNode.get(parent), states);
    const empty = document.getElementById("tree-empty");
    if (empty) empty.hidden = all.length > 0;
  }

  // One bead a station beside its office's name: a folded office still shows who below it is silent.
  function string(row, states) {
    if (!row || states.length > 60) return;
    const line = document.createElement("span");
    line.className = "beads";
    line.setAttribute("aria-hidden", "true");
    for (const state of states) line.append(Object.assign(document.createElement("i"), { className: `bead state-${state}` }));
    row.querySelector(".beads")?.remove();
    row.querySelector(".node").append(line);
  }

  function foldAll(fold) {
    folded.clear();
    if (fold) for (const button of document.querySelectorAll("#tree .fold")) {
      const row = button.closest("tr");
      if (row.dataset.depth !== "0") folded.add(row.dataset.node);
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.classList.contains("fold")) {
      const node = button.closest("tr").dataset.node;
      if (!folded.delete(node)) folded.add(node);
    } else if (button.dataset.unfold) {
      foldAll(button.dataset.unfold === "none");
    } else if (button.dataset.show) {
      show = button.dataset.show;
      for (const other of document.querySelectorAll("[data-show]")) other.setAttribute("aria-pressed", String(other === button));
    } else return;
    arrange();
  });

  // What a fragment replaces is remembered, so that only what really changed is marked, and lists stay where they were
  // scrolled to. (Focus htmx keeps by itself, where what has it has an id.)
  const before = new Map();
  const scrolled = new Map();
  const look = (row) => [row.dataset.state, row.dataset.told, row.dataset.delivered, row.dataset.acknowledged, row.dataset.help].join();
  document.addEventListener("htmx:sseBeforeMessage", () => {
    before.clear();
    for (const row of rows()) before.set(row.dataset.node, look(row));
    for (const list of document.querySelectorAll("#help ul")) scrolled.set(list.id, list.scrollTop);
  });
  document.addEventListener("htmx:sseMessage", () => {
    if (!before.size && rows().length > MANY) foldAll(true);
    const changed = rows().filter((row) => before.get(row.dataset.node) !== look(row));
    for (const row of changed) row.classList.add("fresh");
    for (const list of document.querySelectorAll("#help ul")) list.scrollTop = scrolled.get(list.id) || 0;
    arrange();
    document.dispatchEvent(new CustomEvent("fenghuo:changed", { detail: changed.map((row) => row.dataset.node) }));
  });

  // A row of a node that this page does not have yet: take the tree anew. Further ones do not put that off, since they come
  // for as long as the warning goes out; those that come while it is on its way need another.
  let asked = false, lacking = false;
  function lack() {
    lacking = true;
    if (asked) return;
    asked = true;
    setTimeout(async () => {
      lacking = false;
      await takeTree();
      asked = false;
      if (lacking) lack();
    }, 200);
  }
  document.addEventListener("htmx:oobErrorNoTarget", lack);

  const current = new Map();
  async function takeTree() {
    try {
      await htmx.ajax("GET", location.href, { target: "#tree-body", select: "#tree-body", swap: "outerHTML" });
    } catch {
      return; // not reached: the next such row asks again
    }
    for (const row of rows()) { // it is as old as its request: what came meanwhile stays
      const newer = current.get(row.id);
      if (newer && +newer.dataset.position > +row.dataset.position) row.replaceWith(newer);
    }
    arrange();
    document.dispatchEvent(new CustomEvent("fenghuo:changed", { detail: [] }));
  }
  document.addEventListener("htmx:beforeSwap", ({ detail }) => {
    if (detail.target.id !== "tree-body") return;
    current.clear();
    for (const row of rows()) current.set(row.id, row);
    detail.shouldSwap = detail.xhr.status === 200 && detail.target.isConnected; // else a newer tree came whole
  });

  // What was sent and not answered may have been done or not. It is said where a refusal would be, and the next answer takes
  // its place. Where the form is gone by now, the page shows what became of it.
  function unanswered({ detail }) {
    if (detail.requestConfig.verb === "get") return;
    const said = document.getElementById("unanswered").content.cloneNode(true);
    document.getElementById(detail.target.id)?.replaceChildren(said);
  }
  document.addEventListener("htmx:sendError", unanswered);
  document.addEventListener("htmx:timeout", unanswered);

  const live = document.getElementById("live");
  const out = document.getElementById("signed-out");
  const said = (on) => {
    if (!live) return;
    live.textContent = on ? live.dataset.on : out.hidden ? live.dataset.off : live.dataset.out;
    live.className = `live ${on ? "on" : "off"}`;
  };
  // A stream that breaks off may mean that its reader is not signed in any more: it would be asked for in vain for ever.
  const ASK_MS = 10000; // between two questions
  let wondered = -Infinity;
  async function wonder() {
    if (!out || performance.now() - wondered < ASK_MS) return;
    wondered = performance.now();
    const answer = await fetch("/console/session").catch(() => null);
    out.hidden = answer?.status !== 401;
    if (!out.hidden) said(false);
  }
  document.addEventListener("htmx:sseOpen", () => { if (out) out.hidden = true; said(true); });
  document.addEventListener("htmx:sseError", () => { said(false); wonder(); });

  const clock = document.getElementById("clock");
  if (clock) {
    const format = new Intl.DateTimeFormat("en-GB", { timeZone: "Asia/Shanghai", hour: "2-digit", minute: "2-digit", second: "2-digit" });
    const tick = () => { clock.textContent = `${clock.dataset.label} ${format.format(new Date())}`; };
    tick();
    setInterval(tick, 1000);
  }

  if (tree && rows().length > MANY) foldAll(true);
  arrange();
})();
