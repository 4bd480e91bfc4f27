//! Where a volume is on this node: a directory below the kubelet's, or below one that the administrator allowed, opened
//! name by name without following a link. What the API said is checked against what is there. Reads no volume.

use rustix::fd::{AsRawFd as _, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;
use std::path::{Component, Path, PathBuf};

/// Plugins of the kubelet whose volumes are a PersistentVolume's. Others (Secrets, tokens, emptyDirs) are never read.
const PLUGINS: [&str; 15] = [
    "kubernetes.io~aws-ebs",
    "kubernetes.io~azure-disk",
    "kubernetes.io~azure-file",
    "kubernetes.io~cephfs",
    "kubernetes.io~cinder",
    CSI,
    "kubernetes.io~fc",
    "kubernetes.io~gce-pd",
    "kubernetes.io~glusterfs",
    "kubernetes.io~iscsi",
    "kubernetes.io~local-volume",
    "kubernetes.io~nfs",
    "kubernetes.io~portworx-volume",
    "kubernetes.io~rbd",
    "kubernetes.io~vsphere-volume",
];
/// Below its volume's directory a CSI volume is in `mount`, beside the kubelet's notes on it.
const CSI: &str = "kubernetes.io~csi";
const NOTES: &str = "vol_data.json";
/// The notes are some hundred bytes.
const NOTES_MAX: usize = 64 << 10;
/// The longest name of an object of Kubernetes, and of a file.
const NAME_MAX: usize = 253;

/// Where volumes may be.
#[derive(Debug, Clone)]
pub struct Roots {
    /// The kubelet's directory of pods, `/var/lib/kubelet/pods`.
    pub pods: PathBuf,
    /// Directories whose subdirectories may be volumes of the kind hostPath.
    pub host_paths: Vec<PathBuf>,
}

/// Where the API says that a volume is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Mounted by the kubelet for a pod.
    Pod { pod_uid: String, plugin: String, volume: String },
    /// A directory of the node.
    HostPath(PathBuf),
}

/// Why a volume cannot be read where the API says that it is.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("{what} '{}' cannot be part of a path; the VolumeBackup was not made by Lifeboat", value.escape_debug())]
    Name { what: &'static str, value: String },
    #[error(
        "Volumes of the kubelet's plugin '{}' are not read: they are not PersistentVolumes that Lifeboat knows", plugin.escape_debug()
    )]
    Plugin { plugin: String },
    #[error(
        "{path} is not below a directory that may be read; add --host-path and the same mount to the DaemonSet if it may"
    )]
    NotAllowed { path: PathBuf },
    #[error("{path} is not there; the pod may have left this node, then it is read where it is next", path = path.display())]
    Absent { path: PathBuf },
    #[error("Nothing is mounted on {path}: the volume was unmounted, or mounts of the node do not reach this container (mountPropagation: HostToContainer)", path = path.display())]
    NotMounted { path: PathBuf },
    #[error("{path} is another volume than '{}': the kubelet's notes say {found}", wanted.escape_debug(), path = path.display())]
    Another { path: PathBuf, wanted: String, found: String },
    #[error("{path} cannot be opened as a directory: {cause}", path = path.display())]
    Open { path: PathBuf, cause: Errno },
}

impl PlaceError {
    /// A stable CamelCase word for the status.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Name { .. } | Self::Another { .. } => "VolumeMismatch",
            Self::Plugin { .. } => "PluginUnknown",
            Self::NotAllowed { .. } => "HostPathNotAllowed",
            Self::Absent { .. } | Self::NotMounted { .. } => "VolumeNotMounted",
            Self::Open { .. } => "VolumeUnreadable",
        }
    }
}

/// What a volume is read from. CSI snapshots will be another source.
#[derive(Debug)]
#[non_exhaustive]
pub enum VolumeSource {
    /// The mounted volume itself, while its application may write.
    Live(Opened),
}

/// A volume's directory, held open: what its path leads to later does not matter.
#[derive(Debug)]
pub struct Opened {
    fd: OwnedFd,
}

impl VolumeSource {
    /// Opens a volume where the API says that it is.
    ///
    /// # Errors
    /// It may not be read, is not there, is not mounted, or is another one.
    pub fn live(roots: &Roots, place: &Place) -> Result<Self, PlaceError> {
        let fd = match place {
            Place::Pod { pod_uid, plugin, volume } => open_pod(roots, pod_uid, plugin, volume)?,
            Place::HostPath(path) => open_host_path(roots, path)?,
        };
        Ok(Self::Live(Opened { fd }))
    }

    /// A path to it that holds as long as this does.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let Self::Live(Opened { fd }) = self;
        PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
    }
}

fn open_pod(roots: &Roots, pod_uid: &str, plugin: &str, volume: &str) -> Result<OwnedFd, PlaceError> {
    name("The pod's uid", pod_uid)?;
    name("The volume's name", volume)?;
    name("The plugin", plugin)?;
    // A plugin `VENDOR~DRIVER` that is not the kubelet's own is a FlexVolume.
    let known = match plugin.split_once('~') {
        Some(("kubernetes.io", _)) => PLUGINS.contains(&plugin),
        Some((vendor, driver)) => !vendor.is_empty() && !driver.is_empty(),
        None => false,
    };
    if !known {
        return Err(PlaceError::Plugin { plugin: plugin.to_owned() });
    }
    let mut shown = roots.pods.clone();
    let mut parent = root(&roots.pods)?;
    let mut names = vec![pod_uid, "volumes", plugin, volume];
    if plugin == CSI {
        names.push("mount");
    }
    let last = names.pop().expect("there are four names at least");
    for name in names {
        shown.push(name);
        parent = below(&parent, name, &shown)?;
    }
    if plugin == CSI {
        noted(&parent, volume, &shown)?;
    }
    shown.push(last);
    let fd = below(&parent, last, &shown)?;
    if mount_of(&parent, &shown)? == mount_of(&fd, &shown)? {
        return Err(PlaceError::NotMounted { path: shown });
    }
    Ok(fd)
}

fn open_host_path(roots: &Roots, path: &Path) -> Result<OwnedFd, PlaceError> {
    let not_allowed = || PlaceError::NotAllowed { path: path.to_owned() };
    let rest_of = |allowed: &PathBuf| Some((allowed.clone(), path.strip_prefix(allowed).ok()?));
    // The innermost one, whatever their order.
    let found =
        roots.host_paths.iter().filter_map(rest_of).max_by_key(|(allowed, _)| allowed.as_os_str().len());
    let (allowed, rest) = found.ok_or_else(not_allowed)?;
    let mut names = Vec::new();
    for component in rest.components() {
        let Component::Normal(name) = component else { return Err(not_allowed()) };
        names.push(name.to_str().ok_or_else(not_allowed)?);
    }
    // The allowed directory itself holds the volumes of others.
    if names.is_empty() || path.components().any(|c| matches!(c, Component::ParentDir)) {
        return Err(not_allowed());
    }
    let mut fd = root(&allowed)?;
    let mut shown = allowed;
    for name in names {
        shown.push(name);
        fd = below(&fd, name, &shown)?;
    }
    Ok(fd)
}

/// One name of a path, and nothing that leads elsewhere.
fn name(what: &'static str, value: &str) -> Result<(), PlaceError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '~');
    let good = !value.is_empty() && value.len() <= NAME_MAX && value.chars().all(fits);
    if good && !value.starts_with('.') {
        return Ok(());
    }
    Err(PlaceError::Name { what, value: value.chars().take(NAME_MAX).collect() })
}

/// A directory that the administrator named; links in it are theirs.
fn root(path: &Path) -> Result<OwnedFd, PlaceError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty()).map_err(|cause| sorted(path, cause))
}

/// One name in a directory. Without a slash, not upwards and not through a link it leads nowhere else: what
/// openat2(2) would promise, which the filter of system calls denies because it cannot look into its arguments.
fn below(parent: &OwnedFd, name: &str, shown: &Path) -> Result<OwnedFd, PlaceError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty()).map_err(|cause| sorted(shown, cause))
}

fn sorted(path: &Path, cause: Errno) -> PlaceError {
    match cause {
        Errno::NOENT | Errno::STALE => PlaceError::Absent { path: path.to_owned() },
        cause => PlaceError::Open { path: path.to_owned(), cause },
    }
}

fn mount_of(fd: &OwnedFd, shown: &Path) -> Result<u64, PlaceError> {
    statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)
        .map(|s| s.stx_mnt_id)
        .map_err(|cause| PlaceError::Open { path: shown.to_owned(), cause })
}

/// What the kubelet notes beside a CSI volume.
#[derive(serde::Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct Notes {
    #[serde(rename = "specVolID")]
    spec_vol_id: Option<String>,
    volume_lifecycle_mode: Option<String>,
}

/// Where the kubelet noted what it mounted, it must be this PersistentVolume: a volume of a pod of its own (a driver that
/// hands out Secrets, say) is mounted in the same place.
fn noted(volume_directory: &OwnedFd, volume: &str, shown: &Path) -> Result<(), PlaceError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(fd) = openat(volume_directory, NOTES, flags, Mode::empty()) else { return Ok(()) };
    let another = |found: String| PlaceError::Another {
        path: shown.to_owned(),
        wanted: volume.to_owned(),
        found: crate::cluster::text::clean(&found, NAME_MAX),
    };
    let mut text = Vec::new();
    let file = std::fs::File::from(fd);
    let read = std::io::Read::read_to_end(&mut std::io::Read::take(file, NOTES_MAX as u64), &mut text);
    let notes: Option<Notes> = read.ok().and_then(|_| serde_json::from_slice(&text).ok());
    let Some(notes) = notes else { return Err(another("nothing that can be read".to_owned())) };
    if notes.spec_vol_id.as_deref().is_some_and(|id| id != volume) {
        return Err(another(notes.spec_vol_id.unwrap_or_default()));
    }
    match notes.volume_lifecycle_mode.as_deref() {
        None | Some("" | "Persistent") => Ok(()),
        Some(mode) => Err(another(format!("a volume of the kind {mode}"))),
    }
}

#[cfg(test)]
#[path = "place_tests.rs"]
mod tests;
