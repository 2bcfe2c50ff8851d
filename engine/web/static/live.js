// Keeps a page fresh while something runs: fetches it again and exchanges its <main>.
"use strict";
(function () {
  const main = () => document.getElementById("main");
  const pause = () => Number(main().dataset.refresh) * 1000;
  const inUse = () => main().contains(document.activeElement) && document.activeElement.matches("a, button, input");
  const busy = () => document.hidden || !document.getSelection().isCollapsed || inUse();

  async function refresh() {
    if (!busy()) {
      try {
        const response = await fetch(location.href, { credentials: "same-origin", cache: "no-store" });
        if (response.redirected) return location.reload(); // signed out
        const page = new DOMParser().parseFromString(await response.text(), "text/html");
        const fresh = page.getElementById("main");
        if (response.ok && fresh && !busy()) exchange(page);
      } catch (_) { /* the server is away: try again at the next turn */ }
    }
    if (pause()) setTimeout(refresh, pause());
  }

  // The log's box is reversed (column-reverse): its scrollTop is 0 at the end and negative above.
  const above = (log) => log.scrollHeight - log.clientHeight + log.scrollTop;

  function exchange(page) {
    const log = document.querySelector(".log.tail");
    const kept = log && log.scrollTop < -40 ? above(log) : null;
    const focused = log && log === document.activeElement;
    for (const part of ["main", "footer"]) {
      const renewed = page.querySelector(part);
      if (renewed) document.querySelector(part).replaceWith(document.importNode(renewed, true));
    }
    document.title = page.title;
    const renewed = document.querySelector(".log.tail");
    if (renewed && kept !== null) renewed.scrollTop += kept - above(renewed);
    if (renewed && focused) renewed.focus({ preventScroll: true });
  }

  setTimeout(refresh, pause());
})();
