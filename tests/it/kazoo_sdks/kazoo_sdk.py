"""What a program does with kazoo-sdk: log in, list, make, change, delete a hook, and look at what was sent to it."""
import sys

import kazoo
from kazoo.exceptions import KazooApiAuthenticationError, KazooApiBadDataError, KazooApiError
from kazoo.request_objects import KazooRequest

base, key, account, uri = sys.argv[1:]

client = kazoo.Client(api_key=key, base_url=base)
client.authenticate()
assert client.auth_data["data"]["account_id"] == account, client.auth_data
assert client.get_account(account)["data"]["id"] == account
assert client.get_account_descendants(account)["data"] == []
assert client.get_webhooks(account)["data"] == []

made = client.create_webhook(account, {
    "name": "calls", "hook": "channel_create", "uri": uri, "http_verb": "post", "retries": "2", "format": "json"})
hook = made["data"]["id"]
assert made["data"]["retries"] == 2, made
assert [one["id"] for one in client.get_webhooks(account)["data"]] == [hook]

changed = client.get_webhook(account, hook)["data"]
changed["name"] = "all calls"
changed["custom_request_headers"] = {"X-From": "sdk"}
assert client.update_webhook(account, hook, changed)["data"]["headers"] == {"X-From": "sdk"}
assert client.get_webhook(account, hook)["data"]["name"] == "all calls"

print(hook, flush=True)
sys.stdin.readline()  # something was sent to it meanwhile

attempts = KazooRequest("/accounts/{account_id}/webhooks/{webhook_id}/attempts",
                        get_params={"page_size": 50, "paginate": "false"})
shown = client._execute_request(attempts, account_id=account, webhook_id=hook)
assert [one["hook_id"] for one in shown["data"]] == [hook], shown

try:
    client.create_webhook(account, {"name": "n", "hook": "channel_create", "uri": "http://10.0.0.8/"})
    raise AssertionError("an address that is not public was taken")
except KazooApiBadDataError as refused:
    assert "10.0.0.8 is a private address" in refused.field_errors["uri"]["error"]["message"], refused
try:
    client.get_users(account)
    raise AssertionError("there are users")
except KazooApiError as missing:
    assert "not_found" in str(missing.args), missing

assert client.delete_webhook(account, hook)["data"]["name"] == "all calls"
assert client.get_webhooks(account)["data"] == []

stranger = kazoo.Client(username="ada", password="secret", account_name="acme", base_url=base)
try:
    stranger.authenticate()
    raise AssertionError("a user has logged in")
except KazooApiAuthenticationError:
    pass
