// What makes the pages live beside htmx: forms that submit themselves, words for screen readers, and what to do when
// the service does not answer. All of it is optional; the pages work without.
"use strict";

(() => {
  const polls = (element) => element instanceof Element && element.hasAttribute("data-poll");

  document.documentElement.classList.add("script");

  // a choice takes effect at once
  document.addEventListener("change", (event) => {
    if (event.target.matches("[data-submits]")) event.target.form.requestSubmit();
  });

  // an error of a form is where one begins to read
  document.getElementById("problems")?.focus();

  // nobody looks: nothing needs to be asked
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden && polls(event.detail.elt)) event.preventDefault();
  });

  const away = document.getElementById("away");
  document.addEventListener("htmx:sendError", () => { away.hidden = false; });
  document.addEventListener("htmx:responseError", () => { away.hidden = false; });
  document.addEventListener("htmx:afterOnLoad", (event) => {
    if (event.detail.successful) away.hidden = true;
  });

  // the state is said once when it changes, and not with every look at it
  const announced = document.getElementById("announced");
  let said = document.getElementById("live")?.dataset.said;
  document.addEventListener("htmx:afterSettle", () => {
    const live = document.getElementById("live");
    if (!live || !announced || live.dataset.said === said) return;
    said = live.dataset.said;
    announced.textContent = said;
  });

  // the log stays at its end unless somebody has scrolled back
  const log = document.getElementById("log");
  if (log) {
    const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    let follow = true;
    log.scrollTop = log.scrollHeight;
    log.addEventListener("scroll", () => { follow = atEnd(); });
    document.addEventListener("htmx:afterSettle", () => { if (follow) log.scrollTop = log.scrollHeight; });
  }
})();
