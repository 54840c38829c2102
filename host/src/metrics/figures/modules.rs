//! Figures of the modules: what they are called for and what it costs.

use std::sync::atomic::AtomicU64;

use super::{MODULE, read};
use crate::listener::failed_events::{FailedEventFigures, FailedEventKeeping};
use crate::metrics::exposition::{MetricFamily, Value};
use crate::module::isolated::IsolatedFigures;
use crate::module::pinned_room::MAX_KEYS;
use crate::module::registry::{LoadedModule, ModuleRegistry, ModuleSnapshot};
use crate::module::resident;

pub(in crate::metrics) fn modules(current: &ModuleSnapshot) -> Vec<MetricFamily> {
    let of_each = |family: MetricFamily, figure: &dyn Fn(&LoadedModule) -> Value| {
        current
            .modules()
            .fold(family, |family, module| family.with(MODULE, module.id.as_str(), figure(module)))
    };
    let mut families = vec![
        MetricFamily::gauge("hookline_modules", "Modules that serve.")
            .is(Value::from(current.modules().count())),
        of_each(
            MetricFamily::counter("hookline_module_calls_total", "Events handed to a module."),
            &|module| module.figures().calls.into(),
        ),
        of_each(
            MetricFamily::counter(
                "hookline_module_failures_total",
                "Events that a module did not answer properly.",
            ),
            &|module| module.figures().failures.into(),
        ),
        of_each(
            MetricFamily::counter(
                "hookline_module_hung_total",
                "Calls of the serving generation that were given up.",
            ),
            &|module| module.figures().hung.into(),
        ),
        of_each(
            MetricFamily::counter(
                "hookline_module_seconds_total",
                "Time spent in calls of the serving generation.",
            ),
            &|module| module.figures().busy.as_secs_f64().into(),
        ),
        of_each(
            MetricFamily::gauge("hookline_module_generation", "Number of the generation that serves."),
            &|module| module.figures().generation.into(),
        ),
        of_each(
            MetricFamily::gauge(
                "hookline_module_quarantined",
                "1 when a module hung too often and is called no more.",
            ),
            &|module| module.figures().quarantined.into(),
        ),
    ];
    families.extend(processes(current));
    families
}

/// Of events that modules failed on.
pub(in crate::metrics) fn failed_events(
    failures: &FailedEventKeeping,
    current: &ModuleSnapshot,
) -> [MetricFamily; 8] {
    // Those that serve and have failed on nothing are shown, too.
    current.modules().for_each(|module| drop(failures.figures_of(&module.id)));
    let known = failures.figures();
    let of_each = |family: MetricFamily, figure: &dyn Fn(&FailedEventFigures) -> &AtomicU64| {
        known.iter().fold(family, |family, (module, figures)| {
            family.with(MODULE, module.as_str(), read(figure(figures)))
        })
    };
    let outcome = |name, help, figure: &dyn Fn(&FailedEventFigures) -> &AtomicU64| {
        of_each(MetricFamily::counter(name, help), figure)
    };
    [
        of_each(
            MetricFamily::gauge(
                "hookline_module_failed_events",
                "Events that a module failed on and that are kept.",
            ),
            &|figures| &figures.events,
        ),
        of_each(MetricFamily::gauge("hookline_module_failed_bytes", "Bytes of these."), &|figures| {
            &figures.bytes
        }),
        outcome(
            "hookline_module_failed_kept_total",
            "Events that a module failed on and that were kept.",
            &|figures| &figures.kept,
        ),
        outcome(
            "hookline_module_failed_refused_total",
            "Events that a module failed on and that were not accepted, as many are kept as may be.",
            &|figures| &figures.refused,
        ),
        outcome(
            "hookline_module_failed_dropped_total",
            "Events that a module failed on and that were accepted and lost for it, as many are kept as may be.",
            &|figures| &figures.dropped,
        ),
        outcome(
            "hookline_module_failed_expired_total",
            "Events that a module failed on and that were kept for so long that they were forgotten.",
            &|figures| &figures.expired,
        ),
        outcome(
            "hookline_module_replayed_total",
            "Failed events that were handed to the module again and handled.",
            &|figures| &figures.handled,
        ),
        outcome(
            "hookline_module_replay_failures_total",
            "Failed events that were handed to the module again and failed again.",
            &|figures| &figures.failed_again,
        ),
    ]
}

/// Of modules in a process of their own.
fn processes(current: &ModuleSnapshot) -> [MetricFamily; 5] {
    let of_each = |family: MetricFamily, figure: &dyn Fn(&IsolatedFigures) -> u64| {
        current.modules().fold(family, |family, module| match module.process() {
            Some(process) => family.with(MODULE, module.id.as_str(), figure(&process)),
            None => family,
        })
    };
    [
        of_each(
            MetricFamily::counter(
                "hookline_module_process_restarts_total",
                "Processes of a module started after the first.",
            ),
            &|process| process.restarts,
        ),
        of_each(
            MetricFamily::counter(
                "hookline_module_process_deaths_total",
                "Processes of a module that ended by themselves or did not start again.",
            ),
            &|process| process.deaths,
        ),
        of_each(
            MetricFamily::counter(
                "hookline_module_process_timeouts_total",
                "Processes of a module killed because of a call that took too long.",
            ),
            &|process| process.timeouts,
        ),
        of_each(
            MetricFamily::gauge(
                "hookline_module_process_stopped_seconds",
                "For how long a module's own process has been stopped (SIGSTOP, a debugger, a frozen control group); 0 \
                 while it runs.",
            ),
            &|process| process.halted.map_or(0, |halt| halt.lasts.as_secs().max(1)),
        ),
        of_each(
            MetricFamily::gauge(
                "hookline_module_process_resident_memory_bytes",
                "Resident memory of a module's own process; 0 while there is none.",
            ),
            &|process| process.pid.and_then(resident::of_process).unwrap_or_default(),
        ),
    ]
}

pub(in crate::metrics) fn module_changes(registry: &ModuleRegistry) -> Vec<MetricFamily> {
    let (counters, pinned) = (registry.counters(), registry.pinned_use());
    vec![
        MetricFamily::counter("hookline_module_loads_total", "Generations that began to serve.")
            .is(read(&counters.loaded)),
        MetricFamily::counter(
            "hookline_module_refusals_total",
            "Times that a file was refused, for a new reason.",
        )
        .is(read(&counters.refused)),
        MetricFamily::counter("hookline_modules_removed_total", "Modules whose file was taken away.")
            .is(read(&counters.removed)),
        MetricFamily::counter("hookline_generations_released_total", "Old generations that were unmapped.")
            .is(read(&counters.released)),
        MetricFamily::gauge(
            "hookline_generations_pinned",
            "Old generations that stay mapped until the host ends.",
        )
        .is(Value::from(pinned.generations)),
        MetricFamily::gauge(
            "hookline_generations_pinned_bytes",
            "Memory that old generations which stay mapped are counted with.",
        )
        .is(Value::from(pinned.bytes)),
        MetricFamily::gauge(
            "hookline_generations_pinned_max_bytes",
            "Memory that old generations which stay mapped may have; beyond it no file is loaded.",
        )
        .is(Value::from(pinned.limit)),
        MetricFamily::gauge("hookline_files_refused", "Files in the plugins folder that are refused now.")
            .is(Value::from(registry.refused().len())),
        MetricFamily::gauge(
            "hookline_thread_local_keys",
            "The lowest thread-local key of the process that is free.",
        )
        .is(Value::from(u64::from(pinned.keys))),
        MetricFamily::gauge(
            "hookline_thread_local_keys_max",
            "Thread-local keys that may be taken; beyond it no file is loaded.",
        )
        .is(Value::from(u64::from(MAX_KEYS))),
    ]
}
