//! discover → read → chunk → seal → pack → store, for Kubernetes objects: brings every object that the selection
//! stores into its domain, and counts every other in the report.

use super::BackupError;
use super::ledger::Stated;
use super::pack::Packer;
use super::send::Sending;
use crate::cluster::{Cluster, Discovery, Item, ListOptions, ReadEvent, Resource, read_all};
use crate::select::coverage::Table;
use crate::select::{
    Class, Facts, Report, Selection, classify, classify_broken, classify_kind, sort_for_listing,
};
use lifeboat_format::body::{DomainKind, domain_name, kind_group, object_key};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Lists under way at a time.
const LISTS: usize = 4;

/// A domain of this run: what it is, and of which namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DomainId {
    pub kind: DomainKind,
    pub namespace: String,
}

impl DomainId {
    #[must_use]
    pub fn name(&self) -> String {
        domain_name(self.kind, &self.namespace, "")
    }
}

/// What was read.
#[derive(Debug)]
pub struct Gathered {
    pub report: Report,
    /// Domains that hold something, with their names as the packer knows them.
    pub domains: BTreeMap<String, DomainId>,
    /// Namespaces that the run covers, also those that hold nothing.
    pub namespaces: BTreeSet<String>,
    pub objects: u64,
    pub bytes: u64,
    /// PersistentVolumeClaims among them.
    pub claims: u64,
}

/// Told of progress: objects and bytes so far.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// Reads the cluster.
pub async fn gather(
    cluster: &Cluster,
    discovery: Discovery,
    selection: &Selection,
    packer: &mut Packer,
    sending: &mut Sending<Stated<'_>>,
    progress: Progress<'_>,
) -> Result<Gathered, BackupError> {
    let mut run = Run::new(Report::new(cluster.now()), selection);
    let mut reader = read_all(cluster, run.plan(discovery), ListOptions::default(), LISTS);
    while let Some(event) = reader.next().await {
        let Some((resource, items)) = run.items(event) else { continue };
        for item in &items {
            if run.is_stored(&resource, item) {
                run.store(&resource, item, packer);
            }
        }
        drop(items);
        sending.take(packer).await?;
        progress(run.out.objects, run.out.bytes);
    }
    Ok(run.out)
}

/// Reads the cluster and counts, in `table` also by namespace and kind.
pub async fn count(
    cluster: &Cluster,
    discovery: Discovery,
    selection: &Selection,
    table: Option<&mut Table>,
    progress: Progress<'_>,
) -> Report {
    let mut run = Run::new(Report::new(cluster.now()), selection);
    run.table = table;
    let mut reader = read_all(cluster, run.plan(discovery), ListOptions::default(), LISTS);
    while let Some(event) = reader.next().await {
        let Some((resource, items)) = run.items(event) else { continue };
        for item in &items {
            if run.is_stored(&resource, item) {
                run.out.objects += 1;
                run.out.bytes += item.document_len() as u64;
            }
        }
        progress(run.out.objects, run.out.bytes);
    }
    run.out.report
}

struct Run<'a> {
    selection: &'a Selection,
    facts: Facts,
    document: Vec<u8>,
    table: Option<&'a mut Table>,
    out: Gathered,
}

impl<'a> Run<'a> {
    fn new(report: Report, selection: &'a Selection) -> Self {
        let (domains, namespaces) = (BTreeMap::new(), BTreeSet::new());
        let out = Gathered { report, domains, namespaces, objects: 0, bytes: 0, claims: 0 };
        Self { selection, facts: Facts::default(), document: Vec::new(), table: None, out }
    }

    /// The kinds to list, in order; what need not be listed is noted.
    fn plan(&mut self, discovery: Discovery) -> Vec<Arc<Resource>> {
        let report = &mut self.out.report;
        report.server_version = discovery.server_version;
        discovery.warnings.iter().for_each(|w| report.warn(w));
        for broken in &discovery.broken {
            if classify_broken(broken).is_none() {
                tracing::warn!(group = %broken.group, reason = %broken.reason, "an API group does not answer");
                report.miss_group(broken);
            }
        }
        for kind in self.selection.unknown_kinds(&discovery.resources) {
            report.warn(&format!("the selection names the kind {kind}, which this cluster does not serve"));
        }
        let mut listed = Vec::new();
        for resource in discovery.resources {
            match classify_kind(&resource, self.selection) {
                Some(class) => report.unlisted(&resource, class),
                None => listed.push(resource),
            }
        }
        sort_for_listing(&mut listed);
        listed.into_iter().map(Arc::new).collect()
    }

    /// The usable items of a page; how a list ended goes into the report.
    fn items(&mut self, event: ReadEvent) -> Option<(Arc<Resource>, Vec<Item>)> {
        match event {
            ReadEvent::Page { resource, page } => {
                for rejected in &page.rejected {
                    self.out.report.miss_rejected(&resource, rejected);
                }
                let mut items = page.items;
                // Aggregated servers may list in any order; ascending keys make one map of them.
                items.sort_by(|a, b| {
                    (&a.meta.namespace, &a.meta.name).cmp(&(&b.meta.namespace, &b.meta.name))
                });
                items.dedup_by(|a, b| (&a.meta.namespace, &a.meta.name) == (&b.meta.namespace, &b.meta.name));
                return Some((resource, items));
            }
            ReadEvent::Done { resource, summary } => self.out.report.listed(&resource, &summary),
            ReadEvent::Failed { resource, error, .. } => {
                tracing::warn!(kind = %resource.kind_key(), %error, "a kind could not be listed to its end");
                self.out.report.miss_list(&resource, &error);
            }
        }
        None
    }

    /// Classifies an object, and counts it.
    fn is_stored(&mut self, resource: &Resource, item: &Item) -> bool {
        self.facts.observe(resource, item);
        let class = classify(resource, item, &self.facts, self.selection);
        if matches!(class, Class::Stored | Class::Derived(_)) {
            self.facts.note_used(resource, item);
        }
        self.out.report.count(resource, class);
        self.out.report.locate(resource, item, class);
        if let Some(table) = &mut self.table {
            table.count(resource, item, class);
        }
        class == Class::Stored
    }

    fn store(&mut self, resource: &Resource, item: &Item, packer: &mut Packer) {
        if resource.is("", "namespaces") {
            self.out.namespaces.insert(item.meta.name.clone());
        }
        if resource.is("", "persistentvolumeclaims") {
            self.out.claims += 1;
        }
        let id = domain_of(resource, item);
        let name = id.name();
        let key = object_key(&kind_group(&resource.kind, &resource.group), &item.meta.name);
        self.document.clear();
        item.write_document(&mut self.document);
        packer.push(&name, id.kind != DomainKind::Secrets, &key, &self.document);
        self.out.objects += 1;
        self.out.bytes += self.document.len() as u64;
        self.out.domains.entry(name).or_insert(id);
    }
}

fn domain_of(resource: &Resource, item: &Item) -> DomainId {
    match &item.meta.namespace {
        None => DomainId { kind: DomainKind::Cluster, namespace: String::new() },
        Some(namespace) => {
            let secret = resource.is("", "secrets");
            let kind = if secret { DomainKind::Secrets } else { DomainKind::Objects };
            DomainId { kind, namespace: namespace.clone() }
        }
    }
}
