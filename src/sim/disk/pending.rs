//! The choices that a power cut has, and the disk that each combination of them leaves.
//!
//! Each *slot* is decided on its own: a sector (what is on the platter, any version written since, garbage), the
//! length of a file, a change of names, and what an extended but unwritten range shows. A combination is one number
//! per slot; zero is what is on the platter already. What depends on something else (N2) gives way to it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::content::{Content, SECTOR};
use super::file::FileNode;
use super::names::Inode;
use super::{Disk, Stamp};
use crate::sim::personality::{Order, Personality};

/// Bytes of a garbled sector, of the one place where the platter's old contents show through.
const NOISE: u64 = 0x9e37_79b9_7f4a_7c15;

/// One option per slot.
pub(super) type Combination = Vec<u32>;

pub(super) enum Slot {
    Name { stamp: Stamp, needs: Vec<usize> },
    Length { lens: Vec<(Stamp, u64)> },
    Stale { donor: Option<Inode> },
    Sector { sector: u64, versions: Vec<(Stamp, Option<Bytes>)>, garbage: bool },
}

impl Slot {
    /// How many options there are; one at least.
    pub(super) fn options(&self) -> u32 {
        let count = match self {
            Self::Name { .. } => 2,
            Self::Length { lens } => 1 + lens.len(),
            Self::Stale { donor } => 2 + usize::from(donor.is_some()),
            Self::Sector { versions, garbage, .. } => 1 + versions.len() + if *garbage { 2 } else { 0 },
        };
        u32::try_from(count).expect("memory holds fewer versions of a sector")
    }

    /// The newest option among those whose change `keeps`.
    pub(super) fn newest(&self, keeps: impl Fn(Stamp) -> bool) -> u32 {
        let option = match self {
            Self::Name { stamp, .. } => usize::from(keeps(*stamp)),
            Self::Stale { .. } => 0,
            Self::Length { lens } => lens.iter().rposition(|(stamp, _)| keeps(*stamp)).map_or(0, |at| at + 1),
            Self::Sector { versions, .. } => {
                versions.iter().rposition(|(stamp, _)| keeps(*stamp)).map_or(0, |at| at + 1)
            }
        };
        u32::try_from(option).expect("at most the count of options")
    }

    fn stamps(&self) -> Vec<Stamp> {
        match self {
            Self::Name { stamp, .. } => vec![*stamp],
            Self::Length { lens } => lens.iter().map(|(stamp, _)| *stamp).collect(),
            Self::Stale { .. } => Vec::new(),
            Self::Sector { versions, .. } => versions.iter().map(|(stamp, _)| *stamp).collect(),
        }
    }
}

/// Everything undecided about one disk.
pub(super) struct Pending {
    /// The disk with the pending changes of names, and every file without slots as a power cut leaves it.
    base: Disk,
    /// Names come first, in the order of their changes; then file by file.
    pub(super) slots: Vec<Slot>,
    pub(super) files: Vec<(Inode, Range<usize>)>,
    /// The stamps of all changes, ascending.
    pub(super) moments: Vec<Stamp>,
    name_slots: usize,
}

impl Pending {
    pub(super) fn new(disk: &Disk) -> Self {
        let mut base = disk.clone();
        let mut slots = Vec::new();
        for (at, change) in disk.names.pending.iter().enumerate() {
            let needs = (0..at).filter(|&earlier| change.needs(&disk.names.pending[earlier])).collect();
            slots.push(Slot::Name { stamp: change.stamp, needs });
        }
        let name_slots = slots.len();
        if name_slots == 0 {
            base.forget_unreached();
        } else {
            // What only open handles hold does not survive them.
            let named = disk.names.files();
            base.files.retain(|inode| named.binary_search(inode).is_ok());
        }
        let mut files = Vec::new();
        for (&inode, file) in base.files.clone().iter() {
            if file.is_settled() {
                continue;
            }
            let start = slots.len();
            slots.extend(file_slots(&base, inode, file));
            if start < slots.len() {
                files.push((inode, start..slots.len()));
            } else {
                base.files.insert(inode, Arc::new(reread(file.platter.clone(), file)));
            }
        }
        let mut moments: Vec<Stamp> = slots.iter().flat_map(Slot::stamps).collect();
        moments.sort_unstable();
        moments.dedup();
        Self { base, slots, files, moments, name_slots }
    }

    /// How many combinations there are, if that fits.
    pub(super) fn combinations(&self) -> Option<u64> {
        self.slots.iter().try_fold(1_u64, |product, slot| product.checked_mul(u64::from(slot.options())))
    }

    /// The combination in which each slot has the newest version whose change `keeps`.
    pub(super) fn keeping(&self, keeps: impl Fn(Stamp) -> bool) -> Combination {
        self.slots.iter().map(|slot| slot.newest(&keeps)).collect()
    }

    /// Drops what lacks something that it needs.
    pub(super) fn settle(&self, combination: &mut Combination) {
        for at in 0..self.name_slots {
            let Slot::Name { needs, .. } = &self.slots[at] else { unreachable!("names come first") };
            if needs.iter().any(|&need| combination[need] == 0) {
                combination[at] = 0;
            }
        }
    }

    /// The disk that a power cut leaves when it decides like this.
    pub(super) fn image(&self, combination: &Combination) -> Disk {
        let mut disk = self.base.clone();
        for (inode, range) in &self.files {
            let file = self.file_image(*inode, range.clone(), combination);
            disk.files.insert(*inode, Arc::new(file));
        }
        if self.name_slots > 0 {
            for (change, &option) in self.base.names.pending.iter().zip(combination) {
                if option > 0 {
                    disk.names.persist(change);
                }
            }
            disk.forget_unreached();
        }
        disk
    }

    fn file_image(&self, inode: Inode, range: Range<usize>, combination: &Combination) -> FileNode {
        let file = &self.base.files[inode];
        let mut content = file.platter.clone();
        let mut len = content.len();
        let mut stale = None;
        let mut garbled = Vec::new();
        let mut written = Vec::new();
        for at in range {
            let option = combination[at] as usize;
            if option == 0 {
                continue;
            }
            match &self.slots[at] {
                Slot::Name { .. } => unreachable!("a file has no name slots"),
                Slot::Length { lens } => len = lens[option - 1].1,
                Slot::Stale { donor } => stale = Some(if option == 1 { None } else { *donor }),
                Slot::Sector { sector, versions, .. } => {
                    written.push(*sector);
                    match versions.get(option - 1) {
                        Some((_, version)) => put(&mut content, *sector, version.as_ref()),
                        None if option == versions.len() + 1 => garbled.push(*sector),
                        None => tear(&mut content, *sector, versions.last().and_then(|last| last.1.as_ref())),
                    }
                }
            }
        }
        if let Some(donor) = stale {
            self.expose_stale(inode, &mut content, len, donor, &written);
        }
        for sector in garbled {
            garble(&mut content, inode, sector, &self.base.personality);
        }
        content.clip(len);
        reread(content, file)
    }

    /// Fills what is new and unwritten with what the blocks held before: another file's bytes, or noise.
    fn expose_stale(
        &self,
        inode: Inode,
        content: &mut Content,
        len: u64,
        donor: Option<Inode>,
        written: &[u64],
    ) {
        let donor = donor.map(|donor| &self.base.files[donor].platter);
        for sector in content.len().div_ceil(SECTOR as u64)..len.div_ceil(SECTOR as u64) {
            let mut old = [0; SECTOR];
            content.read_raw(sector * SECTOR as u64, &mut old);
            if old != [0; SECTOR] || written.binary_search(&sector).is_ok() {
                continue;
            }
            match donor {
                Some(donor) => content.copy_sector(sector, donor),
                None => content.put_sector(sector, &noise(inode, sector)),
            }
        }
    }
}

/// The slots of one file.
pub(super) fn file_slots(disk: &Disk, inode: Inode, file: &FileNode) -> Vec<Slot> {
    let mut slots = Vec::new();
    let mut lens = Vec::new();
    let mut len = file.platter.len();
    for resize in &file.resizes {
        let after = resize.to.after(len);
        if after != len {
            lens.push((resize.stamp, after));
        }
        len = after;
    }
    let longest = lens.iter().map(|(_, len)| *len).max().unwrap_or(0);
    if !lens.is_empty() {
        slots.push(Slot::Length { lens });
    }
    if disk.personality.stale_extension && longest > file.platter.len() {
        let donor = disk.files.iter().find(|(other, file)| **other != inode && file.platter.len() > 0);
        slots.push(Slot::Stale { donor: donor.map(|(other, _)| *other) });
    }
    let garbage = !disk.personality.power_safe_overwrite;
    let mut sectors: BTreeMap<u64, Vec<(Stamp, Option<Bytes>)>> = BTreeMap::new();
    for write in &file.writes {
        for sector in write.sectors() {
            sectors.entry(sector).or_default().push((write.stamp, write.sector(sector)));
        }
    }
    slots.extend(sectors.into_iter().map(|(sector, versions)| Slot::Sector { sector, versions, garbage }));
    slots
}

/// The file after a reboot: the cache is empty, and what the platter has is all there is.
fn reread(mut platter: Content, file: &FileNode) -> FileNode {
    let len = platter.len();
    platter.clip(len);
    FileNode::settled(platter, file.bad.clone())
}

fn put(content: &mut Content, sector: u64, data: Option<&Bytes>) {
    match data {
        Some(data) => content.put_sector(sector, data),
        None => content.zero_sector(sector),
    }
}

/// The front of the sector is new, the rest old.
fn tear(content: &mut Content, sector: u64, new: Option<&Bytes>) {
    const FRONT: usize = SECTOR / 2;
    let front = new.map_or(&[0; FRONT][..], |new| &new[..FRONT]);
    content.write_raw(sector * SECTOR as u64, front);
}

/// The whole write unit around the sector holds neither old nor new bytes.
fn garble(content: &mut Content, inode: Inode, sector: u64, personality: &Personality) {
    let unit = u64::from(personality.write_unit) / SECTOR as u64;
    let first = sector / unit * unit;
    for sector in first..first + unit {
        content.put_sector(sector, &noise(inode, sector));
    }
}

/// Bytes that look like nothing, the same each time.
fn noise(inode: Inode, sector: u64) -> [u8; SECTOR] {
    let mut bytes = [0; SECTOR];
    let mut word = inode.0.wrapping_mul(NOISE) ^ sector.wrapping_add(1).wrapping_mul(NOISE.rotate_left(32));
    for chunk in bytes.chunks_exact_mut(8) {
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        chunk.copy_from_slice(&(word ^ word >> 29).to_le_bytes());
    }
    bytes
}

/// Whether a disk of this personality keeps changes in order.
pub(super) fn is_ordered(disk: &Disk) -> bool {
    disk.personality.order == Order::PrefixOrdered
}
