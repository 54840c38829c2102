//! A host under load that is killed again and again while its disk fills, its broker goes away, its endpoints and its
//! tenants misbehave; and the books at the end, by identity: whatever was accepted was delivered, is dead, or is pending.

mod books;
mod calendar;
mod endpoints;
mod greedy;
mod healthy;
mod life;
mod names;
mod report;
mod senders;
mod trouble;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Broker, Disk, Home, Hostile, Manner, PATIENCE};
use books::{Claim, Ledger, Promise, Remains, Way};
use calendar::{Calendar, Wrong};
use endpoints::{Endpoints, Oddity};
use greedy::Greedy;
use healthy::Healthy;
use life::Lives;
use report::{Figures, Line};
use senders::{Door, Sender};

pub use report::Report;
pub use trouble::Trouble;

/// How much of it.
pub struct Plan {
    /// So often the host is killed and started again.
    pub kills: u64,
    /// After this time it ends with as many kills as there were.
    pub within: Duration,
    /// Events a second from each side.
    pub rate: u64,
    /// How long the host lives between two kills, without what is done to it there: each in turn.
    pub lives: Vec<Duration>,
    /// Before every so many-th kill the disk is full, where there is one of the siege's own. 0: never.
    pub full_disk_every: u64,
    /// Size of the disk in MiB: what all events and deliveries together take must fit.
    pub disk: u32,
    /// Before every so many-th kill the broker is killed and comes back, where it is the siege's own. 0: never.
    pub broker_every: u64,
    /// What else is done to it, and who must not feel it.
    pub beside: Option<Beside>,
}

/// Troubles between the kills, and an account that must not feel them.
pub struct Beside {
    /// What comes, in turns.
    pub troubles: Vec<Trouble>,
    /// How long each lasts at least.
    pub lasts: Duration,
    /// Events a second of the healthy account, each way.
    pub healthy_rate: u64,
    /// How long it is alone at first.
    pub alone: Duration,
    /// So many times what its events take alone is allowed for.
    pub ratio: f64,
    /// Hooks of each account that has many.
    pub hooks: usize,
    /// Messages at once that are large when they are unpacked.
    pub bombs: u64,
    /// Files that may be open where they are few.
    pub files: u64,
    /// Where the log of each life of the host is kept.
    pub logs: Option<PathBuf>,
}

/// How long a full disk stays so before the host is killed.
const FULL: Duration = Duration::from_millis(700);

/// How long the host is stopped, one time after the other.
const STOPS: [Duration; 3] =
    [Duration::from_millis(1_300), Duration::from_secs(5), Duration::from_millis(2_500)];

/// What a siege goes on between.
struct Field {
    lives: Lives,
    door: Door,
    ledger: Arc<Ledger>,
    senders: Vec<Arc<Sender>>,
    claims: Vec<Claim>,
    calendar: Calendar,
    good: Endpoints,
    _endpoints: (Vec<Endpoints>, Vec<Hostile>),
}

/// Accounts of which one must not feel the others.
struct Tenants<'p> {
    plan: &'p Beside,
    greedy: Arc<Greedy>,
    healthy: Healthy,
    alone: (Instant, Instant),
}

/// Runs it. `broker` is the siege's own where it may be killed.
///
/// # Panics
/// The host does not start again.
pub async fn siege(plan: &Plan, broker: &Broker) -> Report {
    let mut report = Report::default();
    let queue = Broker::queue_of_its_own();
    let settings = format!(
        "stop_timeout_ms = 10000\n{}[delivery]\nrequest_timeout_ms = 1500\nretry_schedule_ms = [500, 1000]\n\
         [disabler]\ndisable_disabler = true\n",
        broker.settings(&queue)
    );
    let home = Home::new(&settings, &["webhooks_misbehaving"]);
    let disk = Disk::mounted(&home.path("data"), plan.disk, true);
    if let Err(why) = &disk {
        report.skip(format!("no disk of its own could be mounted, so it was never full: {why}"));
    }
    let logs = plan.beside.as_ref().and_then(|beside| beside.logs.clone());
    let lives = Lives::begin(home, plan.beside.is_some(), logs).await;
    let mut field = Field::set_up(lives, broker, &queue).await;
    field.lives.ready().await;
    let tenants = match &plan.beside {
        Some(beside) => Some(Tenants::set_up(&mut field, beside).await),
        None => None,
    };
    if let (Some(_), Err(why)) = (&tenants, field.lives.names()) {
        report.skip(format!("the host has no name server of its own, so none fell silent: {why}"));
    }
    let mut sending = field.load(plan.rate);

    let until = Instant::now() + plan.within;
    for (round, life) in (0..plan.kills).zip(plan.lives.iter().cycle()) {
        sleep(*life).await;
        let troubles = tenants.as_ref().map_or(Vec::new(), |it| it.in_round(round, plan.kills));
        field.outage(plan, round + 1, broker, disk.as_ref().ok(), manner(plan, &troubles), &mut report).await;
        for (trouble, tenants) in troubles.into_iter().zip(tenants.iter().cycle()) {
            sleep(JUDGED).await;
            report.stops += field.trouble(trouble, tenants).await;
        }
        if Instant::now() > until {
            break;
        }
    }
    if tenants.is_some() {
        sleep(JUDGED).await;
    }
    let ended = Instant::now();
    field.door.stop.cancel();
    while let Some(sent) = sending.join_next().await {
        sent.expect("a sender");
    }
    field.balance(broker, &queue, &mut report).await;
    if let Some(Tenants { plan, greedy, healthy, alone }) = tenants {
        report.greedy = greedy.answers();
        let (samples, pulses) = (healthy.samples(), healthy.pulses());
        report.figures =
            Some(Figures { ratio: plan.ratio, alone, ended, calendar: field.calendar, samples, pulses });
        healthy.end().await;
    }
    report
}

/// So long after an outage it is seen whether all is as before.
const JUDGED: Duration = calendar::RECOVERY.saturating_add(Duration::from_millis(1_250));

/// The life in which these come.
fn manner(plan: &Plan, troubles: &[Trouble]) -> life::Manner {
    let files = plan.beside.as_ref().filter(|_| troubles.contains(&Trouble::FewFiles));
    life::Manner { files: files.map(|it| it.files), isolated: troubles.contains(&Trouble::HostStops) }
}

impl Field {
    /// An account whose endpoints are of all kinds.
    async fn set_up(mut lives: Lives, broker: &Broker, queue: &str) -> Self {
        let ledger = Arc::<Ledger>::default();
        lives.tell([Arc::clone(&ledger)]);
        let program = lives.program();
        let door = Door {
            host: lives.host(),
            token: program.token(),
            broker: broker.uri().to_owned(),
            queue: queue.to_owned(),
            stop: CancellationToken::new(),
        };
        let account = program.account("siege").await;
        let sender = Sender::new(&door, &account);
        let good = Endpoints::behaving(Arc::clone(&ledger)).await;
        let mut endpoints = Vec::new();
        let mut hooks = vec![
            ("takes everything", good.url("/good"), 4, Promise::Prompt),
            ("fails now and then", good.url("/flaky"), 4, Promise::Kept),
        ];
        for oddity in Oddity::CHEAP {
            let odd = Endpoints::odd(oddity, Arc::clone(&ledger)).await;
            hooks.push((oddity.name(), odd.url("/"), 2, oddity.promise()));
            endpoints.push(odd);
        }
        let mut hostile = Vec::new();
        for (manner, what) in [
            (Manner::Hangs, "hangs"),
            (Manner::Resets, "breaks connections"),
            (Manner::Fails, "answers 500"),
            (Manner::Babbles, "speaks no HTTP"),
        ] {
            let endpoint = Hostile::endpoint(manner).await;
            hooks.push((what, endpoint.url("/"), 1, Promise::Kept));
            hostile.push(endpoint);
        }
        let mut claims = Vec::new();
        for (what, uri, retries, promise) in hooks {
            let hook = program.hook(&account, "misbehaving", &uri, json!({"retries": retries})).await;
            claims.push(Claim {
                what: what.to_owned(),
                account: account.clone(),
                hooks: vec![hook.parse().expect("a hook's id")],
                events: Arc::clone(&sender.accepted),
                ledger: Arc::clone(&ledger),
                promise,
            });
        }
        let calendar = Calendar::beginning_now();
        let senders = vec![sender];
        Field { lives, door, ledger, senders, claims, calendar, good, _endpoints: (endpoints, hostile) }
    }

    /// Events from both sides.
    fn load(&self, rate: u64) -> JoinSet<()> {
        let mut sending = JoinSet::new();
        for way in [Way::Post, Way::Amqp] {
            sending.spawn(Arc::clone(&self.senders[0]).keep_sending(way, rate, 5, |_| {}));
        }
        sending
    }

    /// The host is killed and starts again in this manner; its disk may have been full and its broker be killed, too.
    async fn outage(
        &mut self,
        plan: &Plan,
        kill: u64,
        broker: &Broker,
        disk: Option<&Disk>,
        manner: life::Manner,
        report: &mut Report,
    ) {
        let is_turn = |every: u64| every > 0 && kill.is_multiple_of(every);
        let (full, broken) = (disk.filter(|_| is_turn(plan.full_disk_every)), is_turn(plan.broker_every));
        let from = Instant::now();
        let mut wrong = Wrong::Killed;
        if let Some(disk) = full {
            disk.fill();
            report.full_disks += 1;
            wrong = Wrong::DiskFull;
            sleep(FULL).await;
        }
        if broken {
            broker.kill().await;
            report.broker_kills += 1;
            wrong = Wrong::BrokerKilled;
        }
        let home = self.lives.kill().await;
        report.kills += 1;
        if let Some(disk) = full {
            disk.free();
        }
        self.lives.start(home, manner).await;
        if broken {
            broker.start_again().await;
        }
        if plan.beside.is_some() {
            self.lives.ready().await;
        }
        self.calendar.add(wrong, from, Instant::now());
    }

    /// Returns when it is over; how often the host was stopped.
    async fn trouble(&mut self, trouble: Trouble, tenants: &Tenants<'_>) -> u64 {
        match (trouble, self.lives.names().ok()) {
            (Trouble::HostStops, _) => {
                for length in STOPS {
                    self.stop(length, tenants).await;
                }
                return STOPS.len() as u64;
            }
            (Trouble::SilentNames, None) => {}
            (_, names) => {
                let from = Instant::now();
                trouble.befall(&tenants.greedy, names, &self.door, tenants.plan.lasts).await;
                self.calendar.add(Wrong::Trouble(trouble.name()), from, Instant::now());
            }
        }
        0
    }

    async fn stop(&mut self, length: Duration, tenants: &Tenants<'_>) {
        let from = Instant::now();
        self.ledger.was_stopped();
        tenants.healthy.ledger().was_stopped();
        self.lives.program().signal("STOP").await;
        sleep(length).await;
        self.lives.program().signal("CONT").await;
        self.calendar.add(Wrong::Stopped, from, Instant::now());
        sleep(JUDGED).await;
    }

    /// Waits for what is on its way, ends the host, and looks for everything.
    async fn balance(&mut self, broker: &Broker, queue: &str, report: &mut Report) {
        self.settled().await;
        let blamed = self.blamed().await;
        let (home, badly) = self.lives.end().await;
        report.ended_badly = badly;
        let remains = Remains {
            stored: books::stored(&home.path("data/hookline.db")),
            refused: books::queued(broker, &format!("{queue}.dead")).await,
            queued: books::queued(broker, queue).await,
        };
        for (claim, blamed) in self.claims.iter().zip(blamed) {
            let (what, promise) = (claim.what.clone(), claim.promise);
            report.accounts.push(Line { what, promise, balance: claim.balance(&remains), blamed });
        }
        for sender in &self.senders {
            let accepted = sender.accepted.all();
            let posts = accepted.iter().filter(|name| name.way == Way::Post).count();
            report.accepted.0 += posts;
            report.accepted.1 += accepted.len() - posts;
            report.repeated += sender.repeated.load(Ordering::Relaxed);
        }
    }

    /// Returns once the endpoints that take everything have everything, or nothing more comes.
    async fn settled(&self) {
        let prompt = || self.claims.iter().filter(|claim| claim.promise == Promise::Prompt);
        let owed: usize = prompt().map(|claim| claim.hooks.len() * claim.events.all().len()).sum();
        let begun = Instant::now();
        let (mut before, mut since) = (0, begun);
        loop {
            let taken = prompt().map(|claim| claim.ledger.taken(&claim.hooks)).sum();
            // An endpoint that drips goes on for as long as there is anything for it.
            if taken >= owed || since.elapsed() > PATIENCE || begun.elapsed() > 3 * PATIENCE {
                return;
            }
            if taken > before {
                (before, since) = (taken, Instant::now());
            }
            sleep(Duration::from_millis(250)).await;
        }
    }

    /// For each claim: how many tries at endpoints that take everything the host calls failed while nothing excused it,
    /// and why one of them.
    async fn blamed(&self) -> Vec<(usize, Option<String>)> {
        let mut blamed = Vec::new();
        for claim in &self.claims {
            blamed.push(match claim.promise {
                Promise::Prompt => self.blames(claim).await,
                Promise::Kept => (0, None),
            });
        }
        blamed
    }

    async fn blames(&self, claim: &Claim) -> (usize, Option<String>) {
        let hook = match claim.hooks.as_slice() {
            [one] => format!("{one}/"),
            _ => String::new(),
        };
        let path =
            format!("/v2/accounts/{}/webhooks/{hook}attempts?failed=true&paginate=false", claim.account);
        let listed = self.lives.program().ask("GET", &path, None).await.json;
        let attempts = listed["data"].as_array().expect("attempts");
        let counts = |attempt: &&Value| {
            let at = attempt["at"].as_str().and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
            let took = Duration::from_millis(attempt["timing_ms"]["total"].as_u64().unwrap_or_default());
            !self.calendar.excused(at.expect("when it was"), took)
        };
        let mut counted = attempts.iter().filter(counts);
        let first = counted.next().map(|attempt| format!("{} ({})", attempt["reason"], attempt["class"]));
        (usize::from(first.is_some()) + counted.count(), first)
    }
}

impl<'p> Tenants<'p> {
    /// They are made, and the healthy one is alone for a while.
    async fn set_up(field: &mut Field, plan: &'p Beside) -> Self {
        let program = field.lives.program();
        let greedy =
            Greedy::set_up(program, &field.door, &field.good, &field.ledger, plan.hooks, plan.bombs).await;
        let endpoint = healthy::Endpoint::new();
        let account = program.account("healthy").await;
        let hook = program.hook(&account, "misbehaving", &endpoint.url(), json!({"retries": 4})).await;
        let sender = Sender::new(&field.door, &account);
        field.claims.extend(greedy.claims());
        field.claims.push(Claim {
            what: "the healthy account".to_owned(),
            account,
            hooks: vec![hook.parse().expect("a hook's id")],
            events: Arc::clone(&sender.accepted),
            ledger: endpoint.ledger(),
            promise: Promise::Prompt,
        });
        field.senders.extend(greedy.senders());
        field.senders.push(Arc::clone(&sender));
        field.lives.tell([endpoint.ledger()]);
        let healthy = endpoint.at_work(sender, plan.healthy_rate, field.lives.host());
        // The first events open connections.
        sleep(calendar::RECOVERY).await;
        let from = Instant::now();
        sleep(plan.alone).await;
        Tenants { plan, greedy: Arc::new(greedy), healthy, alone: (from, Instant::now()) }
    }

    fn in_round(&self, round: u64, rounds: u64) -> Vec<Trouble> {
        Trouble::in_round(&self.plan.troubles, round, rounds)
    }
}
