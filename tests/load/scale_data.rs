//! Data folders with very much in them, written past the host: through its API a million hooks would take an hour.

use std::path::Path;

use anyhow::Context as _;
use rusqlite::{Connection, params};
use serde_json::{Value, json};

/// The database of a data folder.
const DATABASE: &str = "hookline.db";

/// A time after which nothing of this is due while it is measured, from now on.
const LATER_MS: i64 = 3_600_000;

/// Seconds since year 0, as documents have them.
const GREGORIAN: u64 = 63_900_000_000;

/// The id of the account with this number: 32 hexadecimal digits, as the host makes them, in no order.
pub(crate) fn account_id(number: u64) -> String {
    scattered(2 * number)
}

/// The id of the hook with this number.
pub(crate) fn hook_id(number: u64) -> String {
    scattered(2 * number + 1)
}

fn scattered(number: u64) -> String {
    // An odd factor, so that no two are the same.
    let high = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    format!("{high:016x}{:016x}", high.rotate_left(32) ^ number)
}

/// Accounts below one, each with so many hooks at this address.
pub(crate) fn fill_hooks(data: &Path, accounts: u64, hooks_each: u64, uri: &str) -> anyhow::Result<()> {
    let mut database = open(data)?;
    let filling = database.transaction()?;
    {
        let mut insert = filling.prepare(
            "INSERT INTO documents (kind, id, rev, account, deleted, doc) VALUES (?1, ?2, ?3, ?4, 0, ?5)",
        )?;
        let rev = format!("1-{:032x}", 0);
        let top = "f".repeat(32);
        let mut put = |kind: &str, id: &str, owner: &str, document: Value| {
            insert.execute(params![kind, id, rev, owner, document.to_string()]).map(drop)
        };
        put("account", &top, &top, account(&top, &[], &rev))?;
        for number in 0..accounts {
            let owner = account_id(number);
            put("account", &owner, &owner, account(&owner, &[&top], &rev))?;
            for own in 0..hooks_each {
                let number = number * hooks_each + own;
                let id = hook_id(number);
                put("hook", &id, &owner, hook(&id, &owner, &format!("{uri}customers/{number}"), &rev))?;
            }
        }
    }
    filling.commit()?;
    close(&database)
}

fn account(id: &str, tree: &[&str], rev: &str) -> Value {
    json!({
        "_id": id, "pvt_type": "account", "pvt_account_id": id, "pvt_tree": tree, "pvt_reseller_id": tree.first().unwrap_or(&id),
        "pvt_created": GREGORIAN, "pvt_vsn": "1", "name": format!("customer {id}"), "pvt_enabled": true,
        "pvt_modified": GREGORIAN, "_rev": rev,
    })
}

fn hook(id: &str, owner: &str, uri: &str, rev: &str) -> Value {
    json!({
        "_id": id, "pvt_type": "webhook", "pvt_account_id": owner, "pvt_account_db": "webhooks",
        "pvt_created": GREGORIAN, "pvt_vsn": "1", "name": "calls", "hook": "bench", "uri": uri, "http_verb": "post",
        "format": "json", "retries": 2, "enabled": true, "include_subaccounts": false,
        "include_internal_legs": true, "pvt_modified": GREGORIAN, "_rev": rev,
    })
}

/// Deliveries to the first hook that have failed once and are due later.
pub(crate) fn fill_deliveries(data: &Path, count: u64) -> anyhow::Result<()> {
    let mut database = open(data)?;
    let now_ms: i64 =
        database.query_row("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)", [], |row| row.get(0))?;
    let known = database.prepare("SELECT later_ms FROM deliveries").is_ok();
    let (column, value) = if known { (", later_ms", ", ?2") } else { ("", "") };
    let index = database.query_row(
        "SELECT name, sql FROM sqlite_master WHERE name IN ('deliveries_due', 'deliveries_later')",
        [],
        |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)),
    )?;
    let filling = database.transaction()?;
    // It is quicker made at once than row by row.
    filling.execute_batch(&format!("DROP INDEX {}", index.0))?;
    {
        let mut insert = filling.prepare(&format!(
            "INSERT INTO deliveries
             (id, state, tries, due_ms, created_ms, hook, account, webhook_id, payload, wait_ms{column})
             VALUES (?1, 0, 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8{value})"
        ))?;
        let (hook, owner, payload) = (hook_id(0), account_id(0), format!(r#"{{"call":"{:0100}"}}"#, 0));
        for id in 1..=i64::try_from(count)? {
            let due_ms = now_ms + LATER_MS + id % LATER_MS;
            let message = format!("msg_{id:027}");
            insert.execute(params![
                id,
                due_ms,
                now_ms,
                hook,
                owner,
                message,
                payload.as_bytes(),
                due_ms - now_ms
            ])?;
        }
    }
    filling.execute_batch(&index.1)?;
    if known {
        filling.execute("UPDATE delivery_totals SET pending = pending + ?1", [i64::try_from(count)?])?;
    }
    filling.commit()?;
    close(&database)
}

fn open(data: &Path) -> anyhow::Result<Connection> {
    let database = Connection::open(data.join(DATABASE)).context("opening the database of a data folder")?;
    database.pragma_update(None, "synchronous", "OFF")?;
    database.pragma_update(None, "cache_size", -262_144)?;
    Ok(database)
}

fn close(database: &Connection) -> anyhow::Result<()> {
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}
