//! Health checks of an upstream: Kong's record, and the checks of a pool.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Document, Fields};
use crate::model::{ActiveCheck, CheckHeaders, CheckProtocol, HealthyShare, Invalid, Name};
use crate::model::{PassiveCheck, Pool, Statuses, Thresholds};

/// Kong's default lists of statuses.
const ACTIVE_HEALTHY: [u16; 2] = [200, 302];
const ACTIVE_UNHEALTHY: [u16; 8] = [429, 404, 500, 501, 502, 503, 504, 505];
const PASSIVE_UNHEALTHY: [u16; 3] = [429, 500, 503];
const PASSIVE_HEALTHY: [u16; 19] = [
    200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 306, 307, 308,
];

/// The record `healthchecks` of a pool.
pub(super) fn document(pool: &Pool) -> Value {
    json!({
        "active": active(pool.active.as_ref()),
        "passive": passive(pool.passive.as_ref()),
        "threshold": threshold(pool.healthy_share()),
    })
}

/// Kong wants more than its threshold to be healthy.
const fn threshold(share: HealthyShare) -> u8 {
    match share.exceeded {
        true => share.percent,
        false => share.percent.saturating_sub(1),
    }
}

const fn word(protocol: CheckProtocol) -> &'static str {
    match protocol {
        CheckProtocol::Http => "http",
        CheckProtocol::Https => "https",
        CheckProtocol::Tcp => "tcp",
        CheckProtocol::Grpc => "grpc",
        CheckProtocol::Grpcs => "grpcs",
    }
}

fn protocol(record: &Document) -> CheckProtocol {
    match record.text("type") {
        Some("https") => CheckProtocol::Https,
        Some("tcp") => CheckProtocol::Tcp,
        Some("grpc") => CheckProtocol::Grpc,
        Some("grpcs") => CheckProtocol::Grpcs,
        _ => CheckProtocol::Http,
    }
}

fn active(check: Option<&ActiveCheck>) -> Value {
    let off = Thresholds {
        healthy_statuses: ACTIVE_HEALTHY.into(),
        unhealthy_statuses: ACTIVE_UNHEALTHY.into(),
        ..Thresholds::off()
    };
    let thresholds = check.map_or(&off, |check| &check.thresholds);
    let protocol = check.map_or(CheckProtocol::Http, |check| check.protocol);
    let headers = check.map(|check| &check.headers);
    let interval = |of: fn(&ActiveCheck) -> Duration| seconds(check.map_or(Duration::ZERO, of));
    json!({
        "type": word(protocol),
        "timeout": seconds(check.map_or(Duration::from_secs(1), |check| check.timeout)),
        "concurrency": check.map_or(10, |check| check.concurrency),
        "http_path": check.map_or("/", |check| &check.path),
        "https_verify_certificate": check.is_none_or(|check| check.tls_verify),
        "https_sni": check.and_then(|check| check.tls_server_name.as_ref()),
        "headers": headers.filter(|headers| !headers.is_empty()),
        "healthy": {
            "interval": interval(|check| check.healthy_interval),
            "http_statuses": thresholds.healthy_statuses,
            "successes": thresholds.successes,
        },
        "unhealthy": {
            "interval": interval(|check| check.unhealthy_interval),
            "http_statuses": thresholds.unhealthy_statuses,
            "tcp_failures": thresholds.tcp_failures,
            "timeouts": thresholds.timeouts,
            "http_failures": thresholds.http_failures,
        },
    })
}

fn passive(check: Option<&PassiveCheck>) -> Value {
    let off = Thresholds {
        healthy_statuses: PASSIVE_HEALTHY.into(),
        unhealthy_statuses: PASSIVE_UNHEALTHY.into(),
        ..Thresholds::off()
    };
    let thresholds = check.map_or(&off, |check| &check.thresholds);
    let protocol = check.map_or(CheckProtocol::Http, |check| check.protocol);
    json!({
        "type": word(protocol),
        "healthy": {
            "http_statuses": thresholds.healthy_statuses,
            "successes": thresholds.successes,
        },
        "unhealthy": {
            "http_statuses": thresholds.unhealthy_statuses,
            "tcp_failures": thresholds.tcp_failures,
            "timeouts": thresholds.timeouts,
            "http_failures": thresholds.http_failures,
        },
    })
}

/// Whole seconds as an integer, as Kong prints them.
fn seconds(time: Duration) -> Value {
    match time.subsec_nanos() {
        0 => json!(time.as_secs()),
        _ => json!(time.as_secs_f64()),
    }
}

/// Takes the record into a pool. Checks that nothing switches on are none at all.
///
/// # Errors
/// Where a number is beyond what the model holds.
pub(super) fn put(record: &Document, pool: &mut Pool) -> Result<(), Invalid> {
    let empty = Document::new();
    let active = record.record("active").unwrap_or(&empty);
    let passive = record.record("passive").unwrap_or(&empty);
    pool.active = read_active(active, &empty, pool.active.as_ref())?;
    pool.passive = read_passive(passive, &empty, pool.passive.as_ref())?;
    let threshold = record.get("threshold").and_then(Value::as_f64);
    let share = healthy_share(threshold.unwrap_or(0.0));
    pool.healthy_percent_min = share.percent;
    pool.healthy_percent_exceeded = share.exceeded;
    Ok(())
}

/// More than a whole threshold, and at least the next whole percentage of any other. 0 asks for
/// nothing, since where nothing is healthy nobody is served anyway.
fn healthy_share(threshold: f64) -> HealthyShare {
    let reaches = |percent: &u8| f64::from(*percent) >= threshold;
    let percent = (0..=100).find(reaches).unwrap_or(100);
    let exceeded = percent > 0 && f64::from(percent) <= threshold;
    HealthyShare { percent, exceeded }
}

fn read_active(
    record: &Document,
    empty: &Document,
    old: Option<&ActiveCheck>,
) -> Result<Option<ActiveCheck>, Invalid> {
    let healthy = record.record("healthy").unwrap_or(empty);
    let unhealthy = record.record("unhealthy").unwrap_or(empty);
    let (up, down) = (time(healthy, "interval"), time(unhealthy, "interval"));
    if up.is_zero() && down.is_zero() {
        return Ok(None);
    }
    // A check that may take no time would never succeed.
    let timeout = time(record, "timeout").max(Duration::from_millis(1));
    let name = record.text("https_sni").map(str::parse::<Name>).transpose();
    Ok(Some(ActiveCheck {
        protocol: protocol(record),
        host: old.and_then(|old| old.host.clone()),
        headers: headers(record)?,
        tls_server_name: name.map_err(wrong)?,
        path: record.text("http_path").unwrap_or("/").into(),
        healthy_interval: up,
        unhealthy_interval: down,
        timeout,
        concurrency: record.whole("concurrency").unwrap_or(u16::MAX),
        thresholds: thresholds(healthy, unhealthy)?,
        tls_verify: record.flag("https_verify_certificate").unwrap_or(true),
    }))
}

fn wrong(invalid: Invalid) -> Invalid {
    Invalid::new("healthchecks", invalid.why)
}

fn headers(record: &Document) -> Result<CheckHeaders, Invalid> {
    let Some(fields) = record.record("headers") else {
        return Ok(CheckHeaders::default());
    };
    let one = |name: &String| (name.clone(), fields.texts(name));
    let lines: BTreeMap<_, _> = fields.keys().map(one).collect();
    lines.try_into().map_err(wrong)
}

/// Kong's ejected targets wait for an active check, or for a mark by hand.
fn read_passive(
    record: &Document,
    empty: &Document,
    old: Option<&PassiveCheck>,
) -> Result<Option<PassiveCheck>, Invalid> {
    let healthy = record.record("healthy").unwrap_or(empty);
    let unhealthy = record.record("unhealthy").unwrap_or(empty);
    let check = PassiveCheck {
        protocol: protocol(record),
        thresholds: thresholds(healthy, unhealthy)?,
        ejection: old.map_or(Duration::ZERO, |old| old.ejection),
    };
    Ok(Some(check).filter(PassiveCheck::is_on))
}

fn thresholds(healthy: &Document, unhealthy: &Document) -> Result<Thresholds, Invalid> {
    Ok(Thresholds {
        successes: healthy.whole("successes").unwrap_or(0),
        http_failures: unhealthy.whole("http_failures").unwrap_or(0),
        tcp_failures: unhealthy.whole("tcp_failures").unwrap_or(0),
        timeouts: unhealthy.whole("timeouts").unwrap_or(0),
        healthy_statuses: statuses(healthy)?,
        unhealthy_statuses: statuses(unhealthy)?,
    })
}

fn statuses(record: &Document) -> Result<Statuses, Invalid> {
    let list = record.get("http_statuses").and_then(Value::as_array);
    let read = |status: &Value| {
        status
            .as_u64()
            .and_then(|status| u16::try_from(status).ok())
    };
    let list = list.into_iter().flatten().map(read);
    list.collect::<Option<_>>()
        .ok_or_else(|| Invalid::new("healthchecks", "expected an array of statuses"))
}

/// Seconds, perhaps with a fraction.
fn time(record: &Document, field: &str) -> Duration {
    let seconds = record.get(field).and_then(Value::as_f64).unwrap_or(0.0);
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_reads_back_and_is_to_be_exceeded() {
        for (given, percent, exceeded, shown) in [
            (0.0, 0, false, 0),
            (33.0, 33, true, 33),
            (33.5, 34, false, 33),
            (100.0, 100, true, 100),
        ] {
            let share = healthy_share(given);
            assert_eq!((share.percent, share.exceeded), (percent, exceeded));
            assert_eq!(threshold(share), shown);
        }
    }
}
