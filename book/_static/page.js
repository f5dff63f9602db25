// Whatever scrolls sideways on this screen can be reached and scrolled by keyboard.
(() => {
  const wide = ".pst-scrollable-table-container, .cell_output .text_html, div.math, pre";
  const mark = () => document.querySelectorAll(wide).forEach((box) => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  });
  addEventListener("load", mark);
  addEventListener("resize", mark);
})();

// A folded cell says "Show code cell source"; the label that hides these words goes.
addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("details > summary[aria-label]").forEach((summary) => {
    summary.removeAttribute("aria-label");
  });
});
