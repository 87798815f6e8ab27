// Asks this page's server once a second for all that is shown. What a model wrote is only ever text.
const byId = (id) => document.getElementById(id);

function element(parent, id, make) {
  let found = byId(id);
  if (!found) {
    found = make();
    found.id = id;
    parent.append(found);
  }
  return found;
}

function figure() {
  const found = document.createElement("figure");
  found.append(document.createElement("img"), document.createElement("figcaption"));
  return found;
}

function camera(name, about, now) {
  const shown = element(byId("cameras"), `camera-${name}`, figure);
  const picture = `/picture/${name}/${about.sha256}`;
  const image = shown.querySelector("img");
  if (about.sha256 && image.getAttribute("src") !== picture) image.setAttribute("src", picture);
  image.alt = `the last frame of ${name}`;
  const ago = (since) => (since ? `${(now - since).toFixed(1)} s` : "–");
  shown.querySelector("figcaption").textContent = [
    name,
    about.problem || (about.time ? "seen" : "not seen yet"),
    `last frame ${ago(about.time)}`,
    `lag ${ago(about.oldest)}`,
    `${about.waiting} waiting`,
    ...["sent", "scene", "trimmed", "stale", "failed"].map((what) => `${what} ${about[what] || 0}`),
  ].join(" · ");
}

function member(name, problem) {
  const shown = element(byId("members"), `member-${name}`, () => document.createElement("li"));
  shown.className = problem ? "down" : "up";
  shown.textContent = `${name}: ${problem || "up"}`;
}

function event(found) {
  const line = document.createElement("li");
  const time = document.createElement("time");
  time.textContent = new Date(found.time).toLocaleString();
  const data = found.data;
  const skipped = data.why && `skipped ${data.count}: ${data.why}`;
  line.append(time, `${found.source}: ${data.text || skipped || JSON.stringify(data)}`);
  return line;
}

async function refresh() {
  try {
    const state = await (await fetch("/state")).json();
    Object.entries(state.cameras).forEach(([name, about]) => camera(name, about, state.now));
    Object.entries(state.members).forEach(([name, problem]) => member(name, problem));
    byId("events").replaceChildren(...state.events.map(event));
    document.title = "watch";
  } catch {
    document.title = "watch: no answer";
  }
  setTimeout(refresh, 1000);
}

refresh();
