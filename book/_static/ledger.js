// Filters of the ledger. The table is complete without this script.
(() => {
  const form = document.getElementById("ledger-filters");
  const count = document.getElementById("ledger-count");
  const rows = [...document.querySelectorAll("#ledger tbody tr")];
  const [paper, verdict, text] = ["paper", "verdict", "text"].map((name) =>
    document.getElementById(`ledger-${name}`));
  const words = rows.map((row) => row.textContent.toLowerCase());

  function show() {
    const wanted = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, i) => {
      const keep = (!paper.value || row.dataset.paper === paper.value)
        && (!verdict.value || row.dataset.verdict === verdict.value)
        && wanted.every((word) => words[i].includes(word));
      row.hidden = !keep;
      shown += keep;
    });
    count.textContent = `${shown} of ${rows.length} cells`;
  }

  // A link such as reproducibility.html?paper=tnet&verdict=missing sets the filters.
  const asked = new URLSearchParams(location.search);
  for (const field of [paper, verdict, text])
    field.value = asked.get(field.id.replace("ledger-", "")) ?? "";
  form.addEventListener("input", show);
  form.addEventListener("reset", () => setTimeout(show));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  show();
})();
