// Asks the API for one comment's scores and shows them. Whatever comes from outside is set as text, never as HTML.

const $ = (id) => document.getElementById(id);
const SAID = { allow: "Allow", review: "Send to review", remove: "Remove" };
let served = null;

async function ask(path, body) {
  const key = $("key").value.trim();
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const options = body
    ? { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body: JSON.stringify(body) }
    : { headers };
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  const answer = await response.json().catch(() => null);
  if (response.status === 401) {
    $("keyfield").hidden = false;
    throw new Error(key ? "The server does not know this key." : "This server wants an API key.");
  }
  if (response.ok && key) sessionStorage.setItem("key", key);
  if (!response.ok || answer === null) {
    throw new Error(answer?.message ?? `The server answered ${response.status}.`);
  }
  return answer;
}

function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

const readable = (label) => label.replaceAll("_", " ");
const reaches = (score, threshold) => threshold != null && score >= threshold;

function bar(label, score, limits) {
  const track = element("div", "bar");
  track.setAttribute("role", "meter");
  track.setAttribute("aria-label", readable(label));
  track.setAttribute("aria-valuemin", "0");
  track.setAttribute("aria-valuemax", "1");
  track.setAttribute("aria-valuenow", score.toFixed(3));
  const level = reaches(score, limits.remove) ? "remove" : reaches(score, limits.review) ? "review" : "";
  const fill = element("div", `fill ${level}`);
  fill.style.width = `${100 * score}%`;
  track.append(fill);
  const said = [score.toFixed(3)];
  for (const [kind, words] of [["review", "reviewed from"], ["remove", "removed from"]]) {
    if (limits[kind] == null) continue;
    const mark = element("span", `mark ${kind}`);
    mark.style.left = `${100 * limits[kind]}%`;
    mark.title = `${words} ${limits[kind].toFixed(3)}`;
    track.append(mark);
    said.push(mark.title);
  }
  track.setAttribute("aria-valuetext", said.join(", "));
  return track;
}

function row(label, score, prediction) {
  const item = element("li", prediction.reasons.includes(label) ? "reason" : "");
  item.append(
    element("span", "name", readable(label)),
    bar(label, score, served?.thresholds[label] ?? {}),
    element("span", "value", score.toFixed(3)),
  );
  return item;
}

function show(prediction) {
  $("result").dataset.decision = prediction.decision;
  $("decision").textContent = SAID[prediction.decision] ?? prediction.decision;
  $("why").textContent = prediction.reasons.length
    ? `Because of: ${prediction.reasons.map(readable).join(", ")}.`
    : "No score reaches a threshold.";
  const byScore = Object.entries(prediction.scores).sort((one, other) => other[1] - one[1]);
  $("scores").replaceChildren(...byScore.map(([label, score]) => row(label, score, prediction)));
  $("facts").textContent =
    `${prediction.tokens_read} tokens read` +
    (prediction.truncated ? "; the comment is longer than the model reads" : "") +
    `. Version ${prediction.version.slice(0, 12)}, prediction ${prediction.id}`;
  $("result").hidden = false;
}

async function describeModel() {
  served = await ask("/version");
  $("version").textContent = `Model ${served.name}, version ${served.version.slice(0, 12)} (${served.alias}), ${served.backend}`;
}

async function score() {
  if ($("send").disabled) return;
  $("send").disabled = true;
  $("problem").hidden = true;
  try {
    if (served === null) await describeModel();
    show(await ask("/predict", { comment_text: $("text").value }));
  } catch (error) {
    $("result").hidden = true;
    $("problem").textContent = error.message;
    $("problem").hidden = false;
  } finally {
    $("send").disabled = false;
  }
}

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  score();
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("form").requestSubmit();
});
for (const example of document.querySelectorAll(".example")) {
  example.addEventListener("click", () => {
    $("text").value = example.textContent;
    $("form").requestSubmit();
  });
}
$("key").value = sessionStorage.getItem("key") ?? "";
describeModel().catch((error) => {
  $("version").textContent = error.message;
});
