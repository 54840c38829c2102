"""What a program does with PyKazoo: log in, list, make, change, delete a hook, and look at what was sent to it."""
import sys

from pykazoo.client import PyKazooClient

base, key, account, uri = sys.argv[1:]

client = PyKazooClient(base)
client.authentication.api_auth(key)
assert client.authentication.account_id == account
assert [one["id"] for one in client.webhooks.get_system_webhooks()["data"]] == ["channel_create"]
assert client.webhooks.get_webhooks(account)["data"] == []

made = client.webhooks.create_webhook(account, {"data": {
    "name": "calls", "hook": "channel_create", "uri": uri, "http_verb": "post", "retries": 2, "format": "json"}})
hook = made["data"]["id"]
listed = client.webhooks.get_webhooks(account, {"filter_name": "calls", "page_size": 50})
assert [one["id"] for one in listed["data"]] == [hook], listed

changed = client.webhooks.get_webhook(account, hook)["data"]
changed["enabled"] = "true"
changed["name"] = "all calls"
assert client.webhooks.update_webhook(account, hook, {"data": changed})["data"]["name"] == "all calls"

print(hook, flush=True)
sys.stdin.readline()  # something was sent to it meanwhile

attempts = client._rest_request.get("accounts/%s/webhooks/%s/attempts" % (account, hook), {"page_size": 50})
assert [one["hook_id"] for one in attempts["data"]] == [hook], attempts

try:
    client.webhooks.create_webhook(account, {"data": {"name": "n", "hook": "channel_create", "uri": "http://10.0.0.8/"}})
    raise AssertionError("an address that is not public was taken")
except ValueError as refused:
    assert "10.0.0.8 is a private address" in str(refused), refused
try:
    client.users.get_users(account)
    raise AssertionError("there are users")
except ValueError as missing:
    assert "Error Code: 404" in str(missing), missing

assert client.webhooks.delete_webhook(account, hook)["data"]["name"] == "all calls"
assert client.webhooks.get_webhooks(account)["data"] == []

try:
    PyKazooClient(base).authentication.user_auth("ada", "secret", "acme")
    raise AssertionError("a user has logged in")
except PermissionError as refused:
    assert "/v2/api_auth" in str(refused), refused
