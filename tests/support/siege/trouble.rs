//! What is done to a besieged host, one after the other, beside killing it.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::greedy::Greedy;
use super::names::OwnNames;
use super::senders::Door;

/// A trouble that a host has to live with. Whoever is not its cause should not feel it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It is stopped and continued, three times, while its module runs in a process of its own.
    HostStops,
    /// Its name server falls silent while many names are asked for.
    SilentNames,
    /// It may have few files open, and an event goes to more endpoints than that.
    FewFiles,
    /// An account has many hooks at an endpoint that never answers, and many events.
    HangingHooks,
    /// An account has many hooks at a prompt endpoint, and events.
    FanOut,
    /// Hooks are put that are as large as a request may be, and events go to the largest that are let in.
    HugeDocuments,
    /// Clients list and list, and some ask for the description.
    Listings,
    /// Messages are small, and large when they are unpacked.
    GzipBombs,
    /// Endpoints write interim answers without end.
    EndlessAnswers,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Trouble; 9] = [
        Trouble::HostStops,
        Trouble::SilentNames,
        Trouble::FewFiles,
        Trouble::HangingHooks,
        Trouble::FanOut,
        Trouble::HugeDocuments,
        Trouble::Listings,
        Trouble::GzipBombs,
        Trouble::EndlessAnswers,
    ];

    /// As it stands in the table, and as it is chosen by.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Trouble::HostStops => "stops",
            Trouble::SilentNames => "names",
            Trouble::FewFiles => "files",
            Trouble::HangingHooks => "hanging",
            Trouble::FanOut => "fan-out",
            Trouble::HugeDocuments => "documents",
            Trouble::Listings => "listings",
            Trouble::GzipBombs => "bombs",
            Trouble::EndlessAnswers => "endless",
        }
    }

    /// What of these comes in a round, so that each comes in so many rounds at least once, and then all over again.
    #[must_use]
    pub fn in_round(all: &[Trouble], round: u64, rounds: u64) -> Vec<Trouble> {
        let each = (all.len() as u64).div_ceil(rounds.max(1));
        let first = usize::try_from(round * each).unwrap_or_default();
        all.iter().copied().cycle().skip(first % all.len().max(1)).take(each as usize).collect()
    }

    /// Does it, but for stops, which are the siege's own. Returns when it is over, after so long at least.
    pub(super) async fn befall(
        self,
        greedy: &Arc<Greedy>,
        names: Option<&OwnNames>,
        door: &Door,
        lasts: Duration,
    ) {
        let all_of_it = tokio::time::sleep(lasts);
        let silenced = names.filter(|_| self == Trouble::SilentNames);
        silenced.inspect(|names| names.silent(true));
        // As a task, since those have threads that give way to the host.
        let (greedy, door) = (Arc::clone(greedy), door.clone());
        let mut at_work = JoinSet::new();
        at_work.spawn(async move { self.begin(&greedy, &door, lasts).await });
        at_work.join_all().await;
        silenced.inspect(|names| names.silent(false));
        all_of_it.await;
    }

    async fn begin(self, greedy: &Greedy, door: &Door, lasts: Duration) {
        match self {
            Trouble::HostStops => {}
            Trouble::SilentNames => greedy.names_are_asked_for(lasts).await,
            Trouble::FewFiles => greedy.fans_out(2).await,
            Trouble::HangingHooks => greedy.hangs().await,
            Trouble::FanOut => greedy.fans_out(3).await,
            Trouble::HugeDocuments => greedy.puts_huge_documents(door, lasts).await,
            Trouble::Listings => greedy.lists(door, lasts).await,
            Trouble::GzipBombs => greedy.bombs().await,
            Trouble::EndlessAnswers => greedy.hears_endless_answers().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_comes_however_few_rounds_there_are() {
        for rounds in [1, 2, 5, 9, 20] {
            let came: Vec<Trouble> =
                (0..rounds).flat_map(|round| Trouble::in_round(&Trouble::ALL, round, rounds)).collect();
            assert!(Trouble::ALL.iter().all(|trouble| came.contains(trouble)), "{rounds}: {came:?}");
            assert!(came.len() < Trouble::ALL.len() + rounds as usize + 20, "{rounds}: {came:?}");
        }
        assert_eq!(Trouble::in_round(&[], 3, 5), []);
    }
}
