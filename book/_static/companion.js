// Filters for the scoreboard. The page is whole without them: this only hides what a reader did not ask for, and keeps
// the choice in the address, so that it can be sent to somebody.
(() => {
  const place = document.getElementById("filters");
  if (!place) return;
  const rows = [...document.querySelectorAll("tbody[data-runs]")].map(body => ({
    body,
    section: body.closest("section"),
    chapter: body.closest("table").dataset.chapter,
    kind: body.dataset.kind,
    runs: JSON.parse(body.dataset.runs), // [state, data sets, verdicts] of each run
  }));
  const name = row => row.section.querySelector("h2").firstChild.textContent.trim();
  const unique = values => [...new Set(values)];
  const chapters = unique(rows.map(r => r.chapter));
  const filters = {
    chapter: ["Chapter", chapters.map(c => [c, name(rows.find(r => r.chapter === c))])],
    kind: ["Kind", unique(rows.map(r => r.kind)).map(k => [k, k])],
    verdict: ["Verdict", unique(rows.flatMap(r => r.runs.flatMap(run => run[2]))).sort().map(v => [v, v])],
    state: ["State", unique(rows.flatMap(r => r.runs.map(run => run[0]))).sort().map(s => [s, s])],
    dataset: ["Data set", unique(rows.flatMap(r => r.runs.flatMap(run => run[1]))).sort().map(d => [d, d])],
  };

  const form = document.createElement("form");
  form.className = "filters";
  form.setAttribute("aria-label", "Filter the scoreboard");
  for (const [key, [label, options]] of Object.entries(filters)) {
    const select = document.createElement("select");
    select.name = key;
    select.add(new Option("all", ""));
    for (const [value, text] of options) select.add(new Option(text, value));
    const wrapped = document.createElement("label");
    wrapped.append(`${label} `, select);
    form.append(wrapped);
  }
  const reset = Object.assign(document.createElement("button"), {type: "reset", textContent: "Show all"});
  const count = Object.assign(document.createElement("output"), {className: "count"});
  count.setAttribute("role", "status");
  form.append(reset, count);
  place.replaceWith(form);

  const wanted = () => Object.fromEntries([...new FormData(form)].filter(([, value]) => value));
  // One and the same run has to be on the data set, in the state, and of the verdict asked for.
  const meets = (row, want) => (!want.chapter || row.chapter === want.chapter) && (!want.kind || row.kind === want.kind)
    && row.runs.some(([state, data, verdicts]) => (!want.state || state === want.state)
      && (!want.dataset || data.includes(want.dataset)) && (!want.verdict || verdicts.includes(want.verdict)));

  function show() {
    const want = wanted();
    let shown = 0;
    for (const row of rows) {
      row.body.hidden = !meets(row, want);
      shown += !row.body.hidden;
    }
    for (const section of unique(rows.map(r => r.section)))
      section.hidden = rows.every(r => r.section !== section || r.body.hidden);
    count.value = `${shown} of ${rows.length} artefacts`;
  }

  function read() {
    const asked = new URLSearchParams(location.search);
    for (const key of Object.keys(filters)) {
      const select = form.elements[key];
      select.value = asked.get(key) ?? "";
      if (select.selectedIndex < 0) select.value = ""; // a word that this copy does not have
    }
    show();
  }

  function write() {
    const query = new URLSearchParams(wanted()).toString();
    try {
      history.replaceState(null, "", location.pathname + (query && `?${query}`));
    } catch { /* a page opened from disk may not change its address; the filters work all the same */ }
    show();
  }

  form.addEventListener("change", write);
  form.addEventListener("reset", () => setTimeout(write));
  form.addEventListener("submit", event => event.preventDefault());
  read();
  if (location.search) form.scrollIntoView(); // who comes with a question need not look for the answer
})();
