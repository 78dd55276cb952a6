const CLASSES = ["inhibitory", "excitatory"];
const ROUNDS = 12;
const element = (id) => document.getElementById(id);
const data = JSON.parse(element("data").textContent);
const synapses = data.synapses.map(([id, neuron, label, x, y, z, p, maps]) => ({ id, neuron, label, at: [x, y, z], p, maps }));
const byId = new Map(synapses.map((synapse) => [synapse.id, synapse]));
const neurons = [...new Set(synapses.map((synapse) => synapse.neuron))];
let model = data.models[0];
let threshold = model.tau;

const make = (name, text = "", properties = {}) => Object.assign(document.createElement(name), { textContent: text }, properties);
const scoreOf = (synapse, of = model) => synapse.p[data.models.indexOf(of)];
const callOf = (synapse, of = model, at = threshold) => Number(scoreOf(synapse, of) >= at);
const short = (p) => (p > 0.995 && p < 1 ? "> 0.99" : p > 0 && p < 0.005 ? "< 0.01" : p.toFixed(2));
const nameOf = (neuron) => `${neurons.indexOf(neuron) + 1} (${CLASSES[synapses.find((one) => one.neuron === neuron).label]})`;
const file = (name) => `${FOLDER}/${name}.webp`;

// --- The threshold ---------------------------------------------------------------------------------------------------

function chooseModel(number) {
  model = data.models[number];
  element("threshold").max = model.steps.length - 1;
  element("auc").textContent = model.auc;
  const points = model.steps.map(([, tp, fn, fp, tn]) => `${(100 * fp) / (fp + tn)},${100 - (100 * tp) / (tp + fn)}`);
  element("roc").setAttribute("points", points.join(" "));
  for (const synapse of synapses) synapse.score.textContent = `p = ${short(scoreOf(synapse))}`;
  moveTo(model.steps.findIndex(([at]) => at === model.tau));
}

function moveTo(step) {
  const slider = element("threshold");
  slider.value = step;
  const [at, tp, fn, fp, tn, balanced] = model.steps[step];
  threshold = at;
  const chosen = at === model.tau;
  element("at").textContent = at.toFixed(2) + (chosen ? ", as chosen on the validation neurons" : "");
  slider.setAttribute("aria-valuetext", element("at").textContent);
  element("chosen").disabled = chosen;
  for (const [id, n] of Object.entries({ tp, fn, fp, tn })) element(id).textContent = n.toLocaleString("en");
  element("balanced").textContent = balanced;
  const [x, y] = [fp / (fp + tn), tp / (tp + fn)];
  element("point").setAttribute("cx", 100 * x);
  element("point").setAttribute("cy", 100 - 100 * y);
  element("roc-title").textContent = `ROC curve; at this threshold ${y.toFixed(2)} of the excitatory and ${x.toFixed(2)} of the inhibitory synapses are called excitatory`;
  for (const synapse of synapses) mark(synapse);
  filter();
}

function mark(synapse) {
  const right = callOf(synapse) === synapse.label;
  if (synapse.right === right) return;
  synapse.right = right;
  synapse.link.className = right ? "" : "wrong";
  synapse.mark.textContent = right ? "✓ right" : "✗ wrong";
}

// --- The gallery -----------------------------------------------------------------------------------------------------

function card(synapse) {
  const link = make("a", "", { href: `#synapse-${synapse.id}` });
  const stack = make("span", "", { className: "stack" });
  stack.append(make("img", "", { alt: "" }));
  const words = make("span", "", { className: "words" });
  synapse.score = make("span", "", { className: "score" });
  synapse.mark = make("span");
  words.append(make("b", CLASSES[synapse.label]), synapse.score, synapse.mark);
  link.append(stack, words);
  synapse.link = link;
  synapse.item = make("li");
  synapse.item.append(link);
  near.observe(synapse.item);
  return synapse.item;
}

// Pictures are loaded when their card comes near; browsers do that by themselves (loading="lazy") only from a server.
const near = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) {
    if (!isIntersecting) continue;
    near.unobserve(target);
    target.querySelector("img").src = file(target.firstChild.hash.replace("#synapse-", ""));
  }
}, { rootMargin: "600px" });

function filter() {
  const wanted = new FormData(element("filters"));
  const fits = (name, value) => !wanted.get(name) || wanted.get(name) === String(value);
  let n = 0;
  for (const synapse of synapses) {
    const { label, right, neuron, maps } = synapse;
    const shown = fits("label", label) && fits("right", right) && fits("neuron", neuron) && fits("maps", maps.length > 0);
    synapse.item.hidden = !shown;
    n += shown;
  }
  element("count").textContent = `${n.toLocaleString("en")} of ${synapses.length.toLocaleString("en")} synapses`;
}

function order() {
  const byScore = element("filters").elements.order.value === "score";
  const sorted = byScore ? synapses.toSorted((a, b) => scoreOf(a) - scoreOf(b)) : synapses;
  element("list").append(...sorted.map((synapse) => synapse.item));
}

// --- One synapse, at its own address ---------------------------------------------------------------------------------

function showAddressed() {
  const synapse = byId.get(location.hash.replace("#synapse-", ""));
  if (!synapse) return element("one").close();
  element("one-title").textContent = `Synapse ${synapse.id}: ${CLASSES[synapse.label]}`;
  element("shown").src = file(synapse.id);
  element("shown").alt = `Sections through synapse ${synapse.id}, which is in the middle of section ${MIDDLE + 1}`;
  element("scores").replaceChildren(...data.models.map((of) => scoreRow(synapse, of)));
  element("evidence").replaceChildren(...(synapse.maps.length ? evidenceOf(synapse) : []));
  element("facts").replaceChildren(...facts(synapse));
  showSection(document.querySelector("#one .sides"), MIDDLE);
  outline();
  const shown = visible();
  const place = shown.indexOf(synapse);
  element("place").textContent = place < 0 ? "not among those filtered" : `${place + 1} of ${shown.length}`;
  element("previous").disabled = place <= 0;
  element("next").disabled = place + 1 >= shown.length;
  if (!element("one").open) {
    element("one").showModal();
    document.querySelector("#one .section input").focus();
  }
}

const visible = () => [...element("list").children].filter((item) => !item.hidden).map((item) => byId.get(item.firstChild.hash.replace("#synapse-", "")));

function step(by) {
  const shown = visible();
  const place = shown.findIndex((synapse) => location.hash === `#synapse-${synapse.id}`);
  location.replace(`#synapse-${shown[place + by].id}`);
}

function scoreRow(synapse, of) {
  const at = of === model ? threshold : of.tau;
  const call = callOf(synapse, of, at);
  const row = make("tr");
  row.append(make("th", of.label, { scope: "row" }));
  for (const text of [short(scoreOf(synapse, of)), at.toFixed(2), `${CLASSES[call]} ${call === synapse.label ? "✓" : "✗"}`]) row.append(make("td", text));
  return row;
}

function evidenceOf(synapse) {
  const maps = make("div", "", { className: "maps" });
  for (const [name, picture] of synapse.maps) {
    const figure = make("figure");
    figure.append(make("img", "", { src: `${FOLDER}/${picture}`, alt: `Evidence map: ${name}` }), make("figcaption", name));
    maps.append(figure);
  }
  return [make("p", "Bright where the network found evidence for the true class, in the section of the synapse:"), maps];
}

function facts(synapse) {
  const others = make("a", `neuron ${nameOf(synapse.neuron)}`, { href: "#gallery" });
  others.addEventListener("click", () => {
    element("filters").reset();
    element("filters").elements.neuron.value = synapse.neuron;
    filter();
  });
  const found = ["Presynaptic: ", others, `, id ${synapse.neuron}. Position: ${synapse.at.map((nm) => nm.toLocaleString("en")).join(", ")} nm. `];
  if (data.neuroglancer) {
    const state = JSON.stringify({ ...data.neuroglancer, position: synapse.at });
    const link = make("a", "See it in the whole volume, with Neuroglancer", { href: `https://neuroglancer-demo.appspot.com/#!${encodeURIComponent(state)}` });
    found.push(link, make("span", " (leaves this page)."));
  }
  return found;
}

// The dashed square is what the chosen model sees, in the sections that it sees.
function outline() {
  const section = Number(document.querySelector("#one .section input").value);
  const seen = section >= model.first && section < model.first + model.sections;
  element("seen").hidden = !seen || model.side >= 1;
  element("seen").style.width = element("seen").style.height = `${100 * model.side}%`;
  const which = model.sections === 1 ? `section ${model.first + 1}` : `sections ${model.first + 1} to ${model.first + model.sections}`;
  element("field").textContent = `${model.label} sees ${which}` + (model.side < 1 ? ", within the dashed square." : model.side > 1 ? ", and more around this field." : ".");
}

// --- Reader against network ------------------------------------------------------------------------------------------

let calls = [];
let asked = null;

function ask() {
  const label = Number(Math.random() < 0.5);
  const fresh = synapses.filter((synapse) => synapse.label === label && !calls.some((call) => call.synapse === synapse));
  asked = fresh[Math.floor(Math.random() * fresh.length)];
  element("asked").src = file(asked.id);
  element("round").textContent = `Synapse ${calls.length + 1} of ${ROUNDS}: is it excitatory or inhibitory?`;
  showSection(element("quiz"), MIDDLE);
}

function begin() {
  calls = [];
  element("outcome").replaceChildren();
  element("quiz").hidden = false;
  element("begin").textContent = "Begin again";
  ask();
  document.querySelector("#quiz .section input").focus();
}

function finish() {
  element("quiz").hidden = true;
  const [network, control] = [data.models[data.best], data.models[data.control]];
  const callers = { you: (call) => call.call, [network.label]: ({ synapse }) => callOf(synapse, network, network.tau), [control.label]: ({ synapse }) => callOf(synapse, control, control.tau) };
  const table = make("table");
  const head = table.createTHead().insertRow();
  for (const name of ["synapse", "true class", ...Object.keys(callers)]) head.append(make("th", name, { scope: "col" }));
  const body = table.createTBody();
  const right = Object.keys(callers).map(() => 0);
  for (const call of calls) {
    const row = body.insertRow();
    const first = make("th", "", { scope: "row" });
    first.append(make("a", call.synapse.id, { href: `#synapse-${call.synapse.id}` }));
    row.append(first, make("td", CLASSES[call.synapse.label]));
    Object.values(callers).forEach((caller, n) => {
      const hit = caller(call) === call.synapse.label;
      right[n] += hit;
      row.append(make("td", `${CLASSES[caller(call)]} ${hit ? "✓" : "✗"}`));
    });
  }
  const scores = Object.keys(callers).map((name, n) => `${name} ${right[n]}`).join(", ");
  const scroll = make("div", "", { className: "output", tabIndex: 0 });
  scroll.append(table);
  element("outcome").append(make("p", `Right, of ${ROUNDS}: ${scores}. A coin would be right ${ROUNDS / 2} times on average, and ${ROUNDS} synapses tell readers apart only roughly.`), scroll);
  element("begin").focus();
}

// --- Wiring ----------------------------------------------------------------------------------------------------------

for (const slider of document.querySelectorAll(".section input")) slider.max = SECTIONS - 1;
data.models.forEach((of, n) => element("model").append(make("option", of.label, { value: n })));
for (const neuron of neurons) element("filters").elements.neuron.append(make("option", nameOf(neuron), { value: neuron }));
element("with-maps").hidden = !synapses.some((synapse) => synapse.maps.length);
element("list").append(...synapses.map(card));
document.querySelector(".rounds").textContent = ROUNDS;

element("model").addEventListener("change", (event) => { chooseModel(event.target.value); order(); });
element("threshold").addEventListener("input", (event) => moveTo(event.target.value));
element("chosen").addEventListener("click", () => moveTo(model.steps.findIndex(([at]) => at === model.tau)));
element("filters").addEventListener("change", () => { order(); filter(); });
element("filters").addEventListener("reset", () => setTimeout(() => { order(); filter(); }));
element("filters").addEventListener("submit", (event) => event.preventDefault());
element("close").addEventListener("click", () => element("one").close());
element("one").addEventListener("close", () => {
  if (byId.has(location.hash.replace("#synapse-", ""))) location.hash = "#all"; // names no element: nothing scrolls
});
element("one").addEventListener("input", outline);
element("one").addEventListener("wheel", (event) => {
  if (!event.target.closest(".stack")) return;
  event.preventDefault();
  showSection(document.querySelector("#one .sides"), Number(document.querySelector("#one .section input").value) + Math.sign(event.deltaY));
  outline();
}, { passive: false });
element("previous").addEventListener("click", () => step(-1));
element("next").addEventListener("click", () => step(1));
element("begin").addEventListener("click", begin);
element("quiz").addEventListener("submit", (event) => {
  event.preventDefault();
  calls.push({ synapse: asked, call: Number(event.submitter.value) });
  if (calls.length < ROUNDS) ask();
  else finish();
});
addEventListener("hashchange", showAddressed);
chooseModel(0);
showAddressed();
