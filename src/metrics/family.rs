//! Metric families with typed labels: counters, gauges and histograms, each an array indexed by label set.
//!
//! Nothing is looked up by text when something is counted, and a series that the catalogue does not name cannot be
//! made. The `prometheus` crate takes over at the scrape.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::core::Desc;
use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

use super::cells::Cells;
use super::hits::HitMeter;
use super::labels::LabelSet;

/// What a value is measured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A duration in seconds.
    Seconds,
    /// A point in time, in seconds since the Unix epoch.
    UnixSeconds,
    /// Bytes.
    Bytes,
    /// A number of these.
    Count(&'static str),
    /// 1: true; 0: false.
    Flag,
    /// A value that means nothing by itself: only whether it differs.
    Opaque,
}

/// The upper bounds of a histogram's buckets, in the resolution in which its sum is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buckets {
    /// For durations up to minutes: 64 bits hold the sum of 584 years.
    Nanos(&'static [u64]),
    /// For durations up to months: a nanosecond sum of 90-day values would overflow after 2,372 of them.
    Millis(&'static [u64]),
}

/// Nanoseconds a second.
pub(super) const NANOS: u64 = 1_000_000_000;
/// Milliseconds a second.
pub(super) const MILLIS: u64 = 1_000;

/// The declaration of a family.
#[derive(Clone, Copy)]
pub struct Family<L: LabelSet> {
    /// Its name.
    pub name: &'static str,
    /// The names of its labels.
    pub labels: L::Texts,
    /// Labels with one value for the whole process, taken from [`BuildInfo`](super::BuildInfo).
    pub fixed: &'static [Fixed],
    /// What its values are.
    pub unit: Unit,
    /// What it says, for people; one or two sentences.
    pub help: &'static str,
    /// The buckets of a histogram.
    pub buckets: Option<Buckets>,
}

impl<L: LabelSet> Family<L> {
    /// A family with these properties and no more.
    pub fn new(name: &'static str, labels: L::Texts, unit: Unit, help: &'static str) -> Self {
        Self { name, labels, fixed: &[], unit, help, buckets: None }
    }

    /// The same with labels that are the same in all series.
    #[must_use]
    pub fn fixed(self, fixed: &'static [Fixed]) -> Self {
        Self { fixed, ..self }
    }

    /// The same with buckets.
    #[must_use]
    pub fn buckets(self, buckets: Buckets) -> Self {
        Self { buckets: Some(buckets), ..self }
    }
}

/// A label that has one value for the whole process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixed {
    /// The version of the program.
    Version,
    /// The revision of its source.
    Revision,
    /// The kind of store.
    Store,
}

impl Fixed {
    /// The label's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::Revision => "revision",
            Self::Store => "store",
        }
    }

    fn value(self, build: &super::BuildInfo) -> &'static str {
        match self {
            Self::Version => build.version,
            Self::Revision => build.revision,
            Self::Store => build.store,
        }
    }
}

/// What every kind of family has in common.
pub(super) trait Series: Sized {
    /// The labels.
    type Labels: LabelSet;
    /// The type, as Prometheus has it.
    const TYPE: MetricType;
    /// Builds the family; every series of a closed label set is there, at 0.
    fn new(family: &Family<Self::Labels>, header: Header) -> Self;
    /// What is the same in all series.
    fn header(&self) -> &Header;
    /// The series as they are now.
    fn metrics(&self) -> Vec<Metric>;

    /// The family as it is now.
    fn collect(&self) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.header().desc.fq_name.clone());
        family.set_help(self.header().desc.help.clone());
        family.set_field_type(Self::TYPE);
        family.set_metric(self.metrics());
        family
    }
}

/// What is the same in all series of a family.
pub(super) struct Header {
    pub(super) desc: Desc,
    fixed: Vec<LabelPair>,
}

impl Header {
    /// # Errors
    /// If a name is no valid name, or the help is empty.
    pub(super) fn new<L: LabelSet>(family: &Family<L>, build: &super::BuildInfo) -> prometheus::Result<Self> {
        let names = family.labels.as_ref().iter().map(|&name| name.to_owned()).collect();
        let fixed = family.fixed.iter().map(|label| (label.name().to_owned(), label.value(build).to_owned())).collect();
        let desc = Desc::new(family.name.to_owned(), family.help.to_owned(), names, fixed)?;
        let fixed = desc.const_label_pairs.clone();
        Ok(Self { desc, fixed })
    }

    /// A series with these label values, and no value yet.
    pub(super) fn metric<'v>(&self, values: impl IntoIterator<Item = &'v str>) -> Metric {
        let mut pairs = self.fixed.clone();
        pairs.extend(self.desc.variable_labels.iter().zip(values).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name(name.clone());
            pair.set_value(value.to_owned());
            pair
        }));
        Metric::from_label(pairs)
    }

    /// A gauge's series.
    pub(super) fn gauge<'v>(&self, values: impl IntoIterator<Item = &'v str>, value: f64) -> Metric {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        let mut metric = self.metric(values);
        metric.set_gauge(gauge);
        metric
    }
}

/// Counters.
pub(super) struct Counters<L> {
    header: Header,
    cells: Cells,
    labels: PhantomData<L>,
}

impl<L: LabelSet> Counters<L> {
    /// Counts one.
    pub(super) fn inc(&self, labels: L) {
        self.add(labels, 1);
    }

    /// Counts `n`.
    pub(super) fn add(&self, labels: L, n: u64) {
        self.cells.mine().add(labels.index(), n);
    }

    /// How many were counted.
    pub(super) fn get(&self, labels: L) -> u64 {
        self.cells.read(labels.index())
    }
}

impl<L: LabelSet> Series for Counters<L> {
    type Labels = L;
    const TYPE: MetricType = MetricType::COUNTER;

    fn new(_: &Family<L>, header: Header) -> Self {
        Self { header, cells: Cells::new(L::SERIES), labels: PhantomData }
    }

    fn header(&self) -> &Header {
        &self.header
    }

    fn metrics(&self) -> Vec<Metric> {
        let series = L::all().into_iter().map(|labels| {
            let mut counter = proto::Counter::default();
            counter.set_value(float(self.get(labels)));
            let mut metric = self.header.metric(labels.texts().as_ref().iter().copied());
            metric.set_counter(counter);
            metric
        });
        series.collect()
    }
}

/// Gauges.
pub(super) struct Gauges<L> {
    header: Header,
    /// The bits of an `f64` each; [`ABSENT`] where there is no series.
    values: Box<[AtomicU64]>,
    labels: PhantomData<L>,
}

/// A NaN that no arithmetic yields.
const ABSENT: u64 = u64::MAX;

impl<L: LabelSet> Gauges<L> {
    /// Sets the gauge.
    pub(super) fn set(&self, labels: L, value: f64) {
        self.values[labels.index()].store(value.to_bits(), Ordering::Relaxed);
    }

    /// Sets the gauge to a number of things.
    pub(super) fn set_count(&self, labels: L, count: u64) {
        self.set(labels, float(count));
    }

    /// Sets the gauge to a limit; no limit is +Inf.
    pub(super) fn set_limit(&self, labels: L, limit: Option<u64>) {
        self.set(labels, limit.map_or(f64::INFINITY, float));
    }

    /// Takes the series away until it is set again: for one that would be wrong rather than 0.
    pub(super) fn forget(&self, labels: L) {
        self.values[labels.index()].store(ABSENT, Ordering::Relaxed);
    }

    /// Adds to the gauge.
    pub(super) fn add(&self, labels: L, change: f64) {
        let changed = |bits| Some((f64::from_bits(bits) + change).to_bits());
        // The closure never refuses, so neither does the update.
        let _ = self.values[labels.index()].fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }

    /// The gauge's value.
    pub(super) fn get(&self, labels: L) -> f64 {
        f64::from_bits(self.values[labels.index()].load(Ordering::Relaxed))
    }
}

impl<L: LabelSet> Series for Gauges<L> {
    type Labels = L;
    const TYPE: MetricType = MetricType::GAUGE;

    fn new(_: &Family<L>, header: Header) -> Self {
        let values = (0..L::SERIES).map(|_| AtomicU64::new(0_f64.to_bits())).collect();
        Self { header, values, labels: PhantomData }
    }

    fn header(&self) -> &Header {
        &self.header
    }

    fn metrics(&self) -> Vec<Metric> {
        let present = L::all().into_iter().filter_map(|labels| {
            let bits = self.values[labels.index()].load(Ordering::Relaxed);
            let value = f64::from_bits(bits);
            (bits != ABSENT).then(|| self.header.gauge(labels.texts().as_ref().iter().copied(), value))
        });
        present.collect()
    }
}

/// Histograms of durations.
///
/// Not the crate's own: that one adds an `f64` sum in a compare-and-swap loop between two more counters, all on lines
/// shared by all threads: 9 ns alone and 20 ns with a second thread, where this one takes 4 ns in both cases (2-core
/// virtual machine, release build). Here an observation is two additions to counters of the thread's own; the count
/// is the sum of the buckets, so a scrape is consistent in itself.
pub(super) struct Histograms<L> {
    header: Header,
    /// For each series: one cell a bucket, the last one unbounded, then the sum.
    cells: Cells,
    bounds: &'static [u64],
    /// How many of the bounds' units make a second.
    per_second: u64,
    /// The index of a series that is counted by a meter as well, and that.
    metered: Option<(usize, Arc<HitMeter>)>,
    labels: PhantomData<L>,
}

impl<L: LabelSet> Histograms<L> {
    /// Records a duration.
    #[inline]
    pub(super) fn observe(&self, labels: L, took: Duration) {
        // Saturates after 584 years.
        let units = match self.per_second {
            NANOS => u64::try_from(took.as_nanos()),
            _ => u64::try_from(took.as_millis()),
        }
        .unwrap_or(u64::MAX);
        // Linear from below: what is frequent is fast, and a slow look-up does not notice twenty comparisons.
        let bucket = self.bounds.iter().position(|&bound| units <= bound).unwrap_or(self.bounds.len());
        let first = labels.index() * self.stride();
        let mine = self.cells.mine();
        mine.add(first + bucket, 1);
        mine.add(first + self.bounds.len() + 1, units);
    }

    /// Observations so far.
    pub(super) fn count(&self, labels: L) -> u64 {
        let (buckets, _) = self.read(labels);
        buckets.iter().sum()
    }

    /// A meter for the series with these labels, whose hits are part of it.
    pub(super) fn attach(&mut self, labels: L) -> Arc<HitMeter> {
        let meter = Arc::new(HitMeter::new(self.bounds));
        self.metered = Some((labels.index(), Arc::clone(&meter)));
        meter
    }

    /// The buckets of a series, not cumulative, and its sum.
    fn read(&self, labels: L) -> (Vec<u64>, u64) {
        let first = labels.index() * self.stride();
        let mut buckets: Vec<u64> = (first..=first + self.bounds.len()).map(|cell| self.cells.read(cell)).collect();
        let mut sum = self.cells.read(first + self.bounds.len() + 1);
        if let Some((series, meter)) = &self.metered
            && *series == labels.index()
        {
            let hits = meter.read();
            buckets.iter_mut().zip(hits.buckets).for_each(|(all, hits)| *all += hits);
            sum = sum.wrapping_add(hits.sum);
        }
        (buckets, sum)
    }

    /// Cells a series.
    fn stride(&self) -> usize {
        self.bounds.len() + 2
    }

    fn seconds(&self, units: u64) -> f64 {
        // One division of two exact numbers gives the nearest `f64`: a bound of 5 ms is 0.005 to the last bit.
        float(units) / float(self.per_second)
    }

    fn histogram(&self, labels: L) -> proto::Histogram {
        let (counts, sum) = self.read(labels);
        let mut count = 0;
        let buckets = self.bounds.iter().zip(&counts).map(|(&bound, in_bucket)| {
            count += in_bucket;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(self.seconds(bound));
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(counts.iter().sum());
        histogram.set_sample_sum(self.seconds(sum));
        histogram
    }
}

impl<L: LabelSet> Series for Histograms<L> {
    type Labels = L;
    const TYPE: MetricType = MetricType::HISTOGRAM;

    fn new(family: &Family<L>, header: Header) -> Self {
        let (bounds, per_second) = match family.buckets {
            Some(Buckets::Nanos(bounds)) => (bounds, NANOS),
            Some(Buckets::Millis(bounds)) => (bounds, MILLIS),
            None => (&[] as &[u64], NANOS),
        };
        let cells = Cells::new(L::SERIES * (bounds.len() + 2));
        Self { header, cells, bounds, per_second, metered: None, labels: PhantomData }
    }

    fn header(&self) -> &Header {
        &self.header
    }

    fn metrics(&self) -> Vec<Metric> {
        let series = L::all().into_iter().map(|labels| {
            let mut metric = self.header.metric(labels.texts().as_ref().iter().copied());
            metric.set_histogram(self.histogram(labels));
            metric
        });
        series.collect()
    }
}

/// A count as Prometheus has it.
#[expect(clippy::cast_precision_loss, reason = "Prometheus knows only f64: exact up to 2^53, close beyond")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}
