"""Clients of Perspective and of OpenAI, as their registries have them, against the running server."""

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.clients import front
from tests.clients.conftest import Service
from tests.clients.front import HOST, Front

UNSUPPORTED_TYPE = "Currently, only 'PLAIN_TEXT' comments are supported"
BAD_KEY = "API key not valid. Please pass a valid API key."
SUGGESTED = {"clientToken": "t", "detectedLanguages": ["en"]}
BY_NAME = ["pyperspective", "pyspective", "lm-eval", "helm"]
"""Recipes of clients that call Google's host by name, and heed the standard proxy variables."""

# What follows the programs of the recipes, with the clients that those have made.

GOOGLE_BATCH = """
import json
from googleapiclient.errors import HttpError

def comment(text, **fields):
    return {"comment": {"text": text, **fields}, "requestedAttributes": {"TOXICITY": {}}}

answers, refused = {}, {}
def note(name, answer, error):
    if error is None:
        answers[name] = answer["attributeScores"]["TOXICITY"]["summaryScore"]["value"]
    else:
        refused[name] = [error.resp.status, error.reason, error.error_details[0]["errorType"]]

batch = client.new_batch_http_request(callback=note)
for name in ("You are disgusting.", "Thank you.\\n\\nA long id, with an emoji 😀, é and a % sign"):
    batch.add(client.comments().analyze(body=comment(name)), request_id=name)
batch.add(client.comments().analyze(body=comment("<p>hello</p>", type="HTML")), request_id="html")
batch.execute()
scores = {"TOXICITY": {"summaryScore": {"value": 0}}}
suggestion = {"comment": {"text": "You are disgusting."}, "attributeScores": scores, "clientToken": "t"}
suggested = client.comments().suggestscore(body=suggestion).execute()
url = "https://moderation.example.org/$discovery/rest?version=v1alpha1"
other = build("commentanalyzer", "v1alpha1", developerKey="wrong", discoveryServiceUrl=url, static_discovery=False)
try:
    other.comments().analyze(body=comment("hello")).execute()
except HttpError as error:
    wrong_key = [error.resp.status, error.reason]
print(json.dumps([answers, refused, suggested, wrong_key]))
"""

GOOGLEAPIS = """
const comment = { text: 'You are disgusting.' };
const suggested = await client.comments.suggestscore({
  key: 'YOUR_KEY',
  resource: { comment, attributeScores: { TOXICITY: { summaryScore: { value: 0 } } }, clientToken: 't' },
});
const refusal = async (key, asked) => {
  try {
    await client.comments.analyze({ key, resource: { comment, requestedAttributes: asked } });
  } catch (error) {
    return [error.code, error.message, error.response.data.error.details[0].errorType ?? null];
  }
};
console.log(JSON.stringify([suggested.data, await refusal('wrong', { TOXICITY: {} }), await refusal('YOUR_KEY', {})]));
"""

PERSPECTIVE_PYPI = """
import json

text = "😀 You are disgusting. Thank you."
answer = api.analyze_comment(text, span_annotations=True, languages=["en"], do_not_store=True, client_token="t")
spans = [[span["begin"], span["end"]] for span in answer["attributeScores"]["TOXICITY"]["spanScores"]]
scores = {"TOXICITY": {"summaryScore": {"value": 0.0}}}
suggested = api.suggest_score("You are disgusting.", scores, community_id="site", client_token="t")
print(json.dumps([list(answer), spans, suggested]))
"""

PERSPECTIVE_NPM = """
const ask = async (key, text, options) => {
  try {
    const { attributeScores } = await new Perspective({ apiKey: key }).analyze(text, options);
    const scores = Object.entries(attributeScores).map(([name, found]) => [name, found.summaryScore.value]);
    return Object.fromEntries(scores);
  } catch (error) {
    return [error.name, error.message, error.response.status];
  }
};
console.log(JSON.stringify([
  await ask('YOUR_KEY', '<b>You are disgusting.</b>', { attributes: ['toxicity', 'insult', 'spam'] }),
  await ask('wrong', 'hello'),
  await ask('YOUR_KEY', { comment: { text: 'hello', type: 'HTML' } }),
]));
"""

OPENAI = """
import json
from openai import AuthenticationError, BadRequestError

answer = client.moderations.create(input=["You are disgusting.", "Thank you."], model="omni-moderation-latest")
first = answer.results[0]
try:
    client.with_options(api_key="wrong").moderations.create(input="hello")
except AuthenticationError as error:
    wrong_key = [error.status_code, error.code]
try:
    client.moderations.create(input=[{"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}])
except BadRequestError as error:
    image = error.status_code
flagged = [result.flagged for result in answer.results]
print(json.dumps([flagged, first.categories.harassment, first.category_scores.sexual, wrong_key, image]))
"""


@pytest.mark.parametrize("page", BY_NAME)
def test_the_recipe_of_a_client_that_calls_google(service: Service, google: Front, page: str) -> None:
    assert service.run(page, "python", google.proxied) == [service.score()]


def test_the_recipe_that_changes_a_module_of_pyperspective(service: Service) -> None:
    assert service.run("pyperspective", "python", which=1) == [service.score()]


def test_google_api_python_client_batches_suggests_and_reads_refusals(service: Service) -> None:
    score, (answers, refused, suggested, wrong_key) = service.run(
        "google-api-python-client", "python", more=GOOGLE_BATCH
    )
    assert score == service.score()
    assert answers == {name: service.score(name) for name in answers}
    assert len(answers) == 2
    assert refused == {"html": [400, UNSUPPORTED_TYPE, "INVALID_REQUEST"]}
    assert suggested == SUGGESTED
    assert wrong_key == [400, BAD_KEY]


def test_googleapis_suggests_and_reads_refusals(service: Service) -> None:
    score, (suggested, wrong_key, nothing_asked) = service.run("googleapis", "js", more=GOOGLEAPIS)
    assert score == service.score()
    assert suggested == SUGGESTED
    assert wrong_key == [400, BAD_KEY, None]
    assert nothing_asked == [400, "Missing requested_attributes", "NO_REQUESTED_ATTRIBUTES"]


def test_perspective_of_pypi_reads_spans_and_suggests(service: Service) -> None:
    score, (keys, spans, suggested) = service.run("perspective", "python", more=PERSPECTIVE_PYPI)
    assert score == service.score()
    assert keys == ["attributeScores", "languages", "detectedLanguages", "clientToken"]
    assert spans == [[0, 22], [23, 33]]  # an emoji has two code units
    assert suggested == SUGGESTED


def test_perspective_api_client_of_npm_takes_a_tls_server_as_its_proxy(service: Service, google: Front) -> None:
    proxy = {"https_proxy": f"https://{google.tls[0]}:{google.tls[1]}"}
    _check_perspective_npm(service, google.trusted | proxy)


def test_perspectiveapi_js_client_gets_the_rest_of_what_it_asks_for(service: Service) -> None:
    more = "console.log(JSON.stringify(await client.getScores('<i>Thank you.</i>')));"
    score, scores = service.run("perspectiveapi-js-client", "js", more=more)
    assert score == service.score()
    assert scores == {"TOXICITY": service.score("Thank you.")}  # and not SPAM


def may_listen_at(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("127.0.0.1", port))
        except PermissionError:
            return False
        except OSError:  # somebody does
            return True
        return True


@pytest.mark.skipif(
    sys.platform != "linux" or not may_listen_at(443),
    reason="this user may not listen at port 443: `sudo sysctl net.ipv4.ip_unprivileged_port_start=443` allows it",
)
def test_perspective_api_client_of_npm_by_name(service: Service, by_name: tuple[Front, list[str]]) -> None:
    place, before = by_name
    _check_perspective_npm(service, place.trusted, before)


def _check_perspective_npm(service: Service, variables: dict[str, str], before: Sequence[str] = ()) -> None:
    printed = service.run("perspective-api-client", "js", variables, more=PERSPECTIVE_NPM, before=before)
    score, (scores, wrong_key, html) = printed
    assert score == service.score()
    assert scores == {name: service.score(attribute=name) for name in ("TOXICITY", "INSULT")}
    assert wrong_key == ["ResponseError", BAD_KEY, 400]
    assert html == ["ResponseError", UNSUPPORTED_TYPE, 400]


@pytest.fixture
def by_name(service: Service, tmp_path: Path) -> Iterator[tuple[Front, list[str]]]:
    """What listens on Google's port, and the command before which a program finds it by Google's name."""
    # Any address of 127.0.0.0/8 is this machine; two runs side by side take two.
    address = f"127.{os.getpid() % 200 + 20}.{os.getpid() // 200 % 250 + 1}.1"
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.1 localhost\n{address} {HOST}\n")
    enter = 'mount --bind "$0" /etc/hosts && exec "$@"'
    with front.running(service.url, tmp_path, (address, 443)) as place:
        own = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        yield place, ["unshare", *own, "--mount", "sh", "-c", enter, str(hosts)]


def test_openai_reads_what_was_looked_for_and_refusals(service: Service) -> None:
    score, (flagged, harassment, sexual, wrong_key, image) = service.run("openai", "python", more=OPENAI)
    assert score == service.harassment()
    assert flagged == [True, False]
    assert harassment is True
    assert sexual is None  # nobody looked for it: 0.0 would say so
    assert wrong_key == [401, "invalid_api_key"]
    assert image == 400


def test_the_recipe_of_openai_in_node(service: Service) -> None:
    assert service.run("openai", "js") == [service.harassment()]
