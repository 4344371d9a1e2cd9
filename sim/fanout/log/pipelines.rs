//! A log as a pipeline for a while: records that are written, committed and waited for in any order.

use std::time::Duration;

use highwater::wal::Pipeline;
use highwater::{Error, Lsn};

use super::{Env, Run, Wal};

impl Run<'_> {
    /// The log as a pipeline for a while. What it calls durable at any moment is a promise from then on.
    pub(super) async fn pipeline(&mut self, wal: Wal) -> Result<Wal, Error> {
        let background = self.stage.draws.chance(0.5);
        let mut pipeline = if background { wal.pipeline_in_background()? } else { wal.pipeline()? };
        let mut asked = Vec::new();
        for _ in 0..self.stage.draws.range(1, 16) {
            let done = self.step(&mut pipeline, &mut asked).await;
            self.promise(&pipeline);
            self.wait_for_space(done).await?;
        }
        let synced = pipeline.sync().await.map(drop);
        self.promise(&pipeline);
        self.wait_for_space(synced).await?;
        let wal = pipeline.finish().await?;
        self.acknowledged(self.lsns.len());
        Ok(wal)
    }

    async fn step(&mut self, pipeline: &mut Pipeline<Env>, asked: &mut Vec<Lsn>) -> Result<(), Error> {
        match self.stage.draws.below(16) {
            0..=5 => {
                for _ in 0..self.stage.draws.range(1, 8) {
                    let drawn = self.draw_record();
                    // A record that has not become one may lie in the log all the same only if this returns.
                    let lsn = pipeline.append(&drawn.record()).await?;
                    self.appended(&drawn, lsn);
                    self.promise(pipeline);
                }
            }
            6..=7 => asked.push(pipeline.submit()?),
            8..=10 => asked.push(pipeline.commit()?),
            11..=12 => {
                if let Some(lsn) = asked.pop() {
                    pipeline.wait(lsn).await?;
                    assert!(pipeline.high_water() >= lsn, "I2: waited for {lsn}, {}", pipeline.high_water());
                }
            }
            13 => {
                if let Some(lsn) = asked.pop() {
                    pipeline.wait_written(lsn).await?;
                }
            }
            14 => self.executor.sleep(Duration::from_micros(self.stage.draws.range(1, 400))).await,
            _ => {
                if let Some(through) = self.draw_trim() {
                    let through = through.min(pipeline.high_water());
                    pipeline.trim(through).await?;
                }
            }
        }
        assert!(pipeline.high_water() <= pipeline.written(), "I2: durable before it was written");
        Ok(())
    }

    /// What the pipeline calls durable is promised.
    fn promise(&self, pipeline: &Pipeline<Env>) {
        let mark = pipeline.high_water();
        self.acknowledged(self.lsns.partition_point(|lsn| *lsn <= mark));
    }
}
