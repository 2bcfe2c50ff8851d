// Keeps a page fresh while something runs: fetches it again and exchanges its <main>.
"use strict";
(function () {
  const main = () => document.getElementById("main");
  const pause = () => Number(main().dataset.refresh) * 1000;
  const busy = () => document.hidden || !document.getSelection().isCollapsed || main().contains(document.activeElement);

  async function refresh() {
    if (!busy()) {
      try {
        const response = await fetch(location.href, { credentials: "same-origin", cache: "no-store" });
        if (response.redirected) return location.reload(); // signed out
        const page = new DOMParser().parseFromString(await response.text(), "text/html");
        const fresh = page.getElementById("main");
        if (response.ok && fresh && !busy()) exchange(fresh, page);
      } catch (_) { /* the server is away: try again at the next turn */ }
    }
    if (pause()) setTimeout(refresh, pause());
  }

  // The log's box is reversed (column-reverse): its scrollTop is 0 at the end and negative above.
  const above = (log) => log.scrollHeight - log.clientHeight + log.scrollTop;

  function exchange(fresh, page) {
    const log = document.querySelector(".log.tail");
    const kept = log && log.scrollTop < -40 ? above(log) : null;
    main().replaceWith(document.importNode(fresh, true));
    document.title = page.title;
    const renewed = document.querySelector(".log.tail");
    if (renewed && kept !== null) renewed.scrollTop += kept - above(renewed);
  }

  setTimeout(refresh, pause());
})();
