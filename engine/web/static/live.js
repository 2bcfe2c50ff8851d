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

  function exchange(fresh, page) {
    const log = document.querySelector(".log");
    const top = log ? log.scrollTop : 0;
    const atEnd = log ? log.scrollHeight - top - log.clientHeight < 40 : false;
    main().replaceWith(document.importNode(fresh, true));
    document.title = page.title;
    const renewed = document.querySelector(".log");
    if (renewed) renewed.scrollTop = atEnd ? renewed.scrollHeight : top;
  }

  const log = document.querySelector(".log");
  if (log) log.scrollTop = log.scrollHeight;
  setTimeout(refresh, pause());
})();
