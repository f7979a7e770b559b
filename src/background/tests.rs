//! The supervisor: jobs tick, survive their errors, stop after the tick they are in, and are drained in order.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::*;

struct Recorder {
    name: &'static str,
    fails: bool,
    log: mpsc::Sender<String>,
}

#[async_trait::async_trait]
impl Job for Recorder {
    fn name(&self) -> &'static str {
        self.name
    }

    fn next(&self, _: Progress) -> Duration {
        Duration::from_millis(1)
    }

    async fn tick(&mut self, now: Timestamp) -> Result<Progress, JobError> {
        let _ = self.log.try_send(format!("{} tick {now}", self.name));
        if self.fails { Err("no".into()) } else { Ok(Progress::Worked) }
    }

    async fn drain(&mut self, _: Timestamp) -> Result<(), JobError> {
        self.log.send(format!("{} drain", self.name)).await?;
        if self.fails { Err("no".into()) } else { Ok(()) }
    }
}

#[tokio::test]
async fn ticks_goes_on_after_errors_and_drains_in_order() {
    let (sender, mut log) = mpsc::channel(1000);
    let job = |name, fails| Box::new(Recorder { name, fails, log: sender.clone() }) as Box<dyn Job>;
    let supervisor = Supervisor::start(Arc::new(|| 7), vec![job("bad", true), job("good", false)]);
    drop(sender);

    let mut ticks = std::collections::HashMap::new();
    while ticks.get("good tick 7") < Some(&3) || ticks.get("bad tick 7") < Some(&2) {
        *ticks.entry(log.recv().await.expect("the jobs run")).or_insert(0) += 1;
    }
    supervisor.stop().await;

    let mut rest = Vec::new();
    while let Some(line) = log.recv().await {
        rest.push(line);
    }
    // A failing drain does not keep the others from theirs.
    assert_eq!(rest[rest.len() - 2..], ["bad drain".to_owned(), "good drain".to_owned()]);
}

#[test]
fn waits_longer_after_each_failure() {
    let waits = [0, 1, 2, 5, 6, 40, u32::MAX].map(|earlier| retry_wait(earlier).as_secs());
    assert_eq!(waits, [1, 2, 4, 32, 60, 60, 60]);
}
