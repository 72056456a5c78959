#!/bin/sh
# The first program of a guest of `cargo xtask matrix block`. The disks are known by their serial numbers.
#
# A check writes one line to the boot console:   RINGWRIGHT|section|check|result|what was seen
# Results are ok, fail, absent (not in this kernel) and seen (the host knows what there should be).
# RINGWRIGHT-STEP|word asks the host for something; the word is on the disk `control` when it is done.

/bin/busybox mkdir -p /proc /sys /dev /tmp /mnt
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev 2>/dev/null
/bin/busybox --install -s /bin
[ -t 1 ] || exec </dev/null >/dev/kmsg 2>&1
export PATH=/bin HOME=/ TERM=vt100

option() { # value of the kernel command line's option $1
    for word in $(cat /proc/cmdline); do
        case $word in "$1"=*) echo "${word#*=}" ;; esac
    done
}

# The number is the urgency, for the kernel's log.
report() { echo "<2>RINGWRIGHT|$1|$2|$3|$4"; }

see() { report "$1" "$2" seen "$3"; }

last() { echo "$1" | tail -n 3 | tr '\n' ' '; }

# $1 section, $2 check, then a command: ok if it succeeds.
try() {
    section=$1 check=$2
    shift 2
    if said=$("$@" 2>&1); then
        report "$section" "$check" ok "$(last "$said")"
    else
        report "$section" "$check" fail "$(last "$said")"
        return 1
    fi
}

# The same, but it has to fail.
refused() {
    section=$1 check=$2
    shift 2
    if said=$("$@" 2>&1); then
        report "$section" "$check" fail "it was not refused: $(last "$said")"
    else
        report "$section" "$check" ok "$(last "$said")"
    fi
}

t() { # a program of those for disks
    program=$1
    shift
    /tools/ld.so --library-path /tools/lib "/tools/$program" "$@"
}

load() { # module $1 with what it needs, where this kernel has it as one
    for file in $(sed -n "s/^$1.ko:\(.*\)/\1 $1.ko/p" /modules/modules.dep); do
        [ -d "/sys/module/${file%.ko}" ] || insmod "/modules/$file"
    done
}

find_disk() { # name of the disk with serial number $1
    for folder in /sys/block/*; do
        [ "$(cat "$folder/serial" 2>/dev/null)" = "$1" ] && basename "$folder" && return
    done
    return 1
}

# Sets name, dev and sys to those of disk $1. $2 is the section that needs it.
disk() {
    name=$(find_disk "$1") || { report "$2" disk fail "no disk with serial number $1"; return 1; }
    dev=/dev/$name sys=/sys/block/$name
    see "$2" virtqueues "$(ring), $(ls "$sys/mq" | wc -l)"
}

ring() {
    [ "$(cut -c35 "$sys/device/features")" = 1 ] && echo packed || echo split
}

control() { dd if="/dev/$control" bs=512 count=1 iflag=direct 2>/dev/null | head -n 1; }

step() {
    echo "<2>RINGWRIGHT-STEP|$1"
    until [ "$(control)" = "$1" ]; do sleep 0.05; done
}

errors() { # what the kernel has said of failed requests of disk $name
    dmesg | grep -v RINGWRIGHT | grep -e "error, dev $name" -e "$name: .*error" | tail -n 1
}

content() { # checrc32 of $1 MiB of $dev, and their length; an md5sum takes ten times as long
    dd if="$dev" bs=1M count="$1" iflag=direct 2>/dev/null | crc32
}

zero() { # of $dev, MiB $1 to $1 + 4 are zeroes
    rest=$(dd if="$dev" bs=1M skip="$1" count=4 iflag=direct 2>/dev/null | tr -d '\0' | wc -c)
    [ "$rest" -eq 0 ] || { echo "$rest bytes are not zero"; return 1; }
}

fill() { # MiB $1 to $1 + 4 of $dev
    dd if=/tmp/pattern of="$dev" bs=1M seek="$1" conv=fsync 2>/dev/null
}

# Random reads and writes of many sizes, several at a time, verified.
mix() {
    t fio --name=mix --rw=randrw --rwmixread=40 --ioengine=libaio --direct=1 --iodepth=16 --verify=crc32c --verify_fatal=1 \
        --thread --group_reporting --numjobs="$jobs" --output=/tmp/fio "$@" 2>&1 || { grep -e verify -e error /tmp/fio | tail -n 3; return 1; }
    grep -o 'WRITE: .*io=[^,]*' /tmp/fio | sed 's/.*io=//'
}
sizes=4k/40:8k/20:16k/15:32k/10:64k/10:256k/5
small_sizes=512/15:1k/15:3k/10:4k/30:8k/10:16k/10:64k/10

section_sysfs() {
    disk main sysfs || return
    see sysfs serial "$(cat "$sys/serial")"
    see sysfs "logical and physical block" "$(cat "$sys/queue/logical_block_size") $(cat "$sys/queue/physical_block_size")"
    see sysfs "min and opt I/O, alignment" \
        "$(cat "$sys/queue/minimum_io_size") $(cat "$sys/queue/optimal_io_size") $(cat "$sys/alignment_offset")"
    see sysfs "discard max and granularity" "$(cat "$sys/queue/discard_max_bytes") $(cat "$sys/queue/discard_granularity")"
    see sysfs "write zeroes max" "$(cat "$sys/queue/write_zeroes_max_bytes")"
    see sysfs "read-only" "$(cat "$sys/ro")"
    see sysfs cache "$(cat "$sys/queue/write_cache")"
    for mode in "write through" "write back"; do
        echo "$mode" >"$sys/cache_type"
        see sysfs "cache set to $mode" "$(cat "$sys/cache_type"), $(cat "$sys/queue/write_cache")"
    done
}

section_discard() {
    disk main discard || return
    step discard-full
    try discard blkdiscard t blkdiscard "$dev"
    step discard-empty
    try discard "zeroes after it" zero 0
    fill 100
    step punch-full
    try discard "fallocate --punch-hole" t fallocate --punch-hole --offset 100M --length 4M "$dev"
    step punch-empty
    try discard "zeroes after that" zero 100
    see discard "errors in the log" "$(errors)"
}

section_zeroes() {
    disk main zeroes || return
    fill 104 && fill 108
    step zeroes-full
    try zeroes "blkdiscard --zeroout" t blkdiscard --zeroout --offset 104M --length 4M "$dev"
    try zeroes "zeroes after it" zero 104
    try zeroes "fallocate --zero-range" t fallocate --zero-range --offset 108M --length 4M "$dev"
    try zeroes "zeroes after that" zero 108
    step zeroes-empty
    see zeroes "errors in the log" "$(errors)"
}

section_ext4() {
    disk main ext4 || return
    try ext4 mkfs.ext4 t mke2fs -q -F -t ext4 "$dev" 64M || return
    try ext4 mount mount -t ext4 "$dev" /mnt || return
    try ext4 "fio --verify" mix --directory=/mnt --size="$((megabytes / jobs))M" --bssplit="$sizes"
    cp /tmp/pattern /mnt/kept
    try ext4 umount umount /mnt
    try ext4 "e2fsck -f -n" t e2fsck -f -n "$dev"
    step ext4-full
    mount -t ext4 "$dev" /mnt
    rm /mnt/mix*
    sync
    try ext4 fstrim t fstrim -v /mnt
    cmp /tmp/pattern /mnt/kept && umount /mnt
    try ext4 "e2fsck after fstrim" t e2fsck -f -n "$dev"
    step ext4-trimmed
    see ext4 "content on the host" "$(content 64)"
    step ext4-content
    see ext4 "errors in the log" "$(errors)"
}

section_resize() {
    disk main resize || return
    step grow
    wanted=$(option ringwright.grown)
    for attempt in $(seq 300); do
        [ "$(cat "$sys/size")" = "$wanted" ] && break
        sleep 0.1
    done
    see resize "size in sectors" "$(cat "$sys/size")"
    end=$((wanted / 2048 - 4))
    fill "$end"
    dd if="$dev" bs=1M skip="$end" count=4 iflag=direct of=/tmp/back 2>/dev/null
    try resize "the new end holds data" cmp /tmp/pattern /tmp/back
    see resize "errors in the log" "$(errors)"
}

section_readonly() {
    disk locked readonly || return
    see readonly "ro in sysfs" "$(cat "$sys/ro")"
    refused readonly "writes are refused" dd if=/tmp/pattern of="$dev" bs=4096 count=1 oflag=direct
    see readonly "content on the host" "$(content 8)"
    step readonly-content
}

# State of the zone $1 of $dev, such as em, oe or fu.
zone() { t blkzone report -o "$(($1 * zone_sectors))" -c 1 "$dev" | sed 's/.*zcond: *[0-9]*(\([a-z]*\)).*/\1/'; }

# blkzone's command $1 on zone $2, after which its state has to be $3.
zoned_command() {
    try zoned "blkzone $1" t blkzone "$1" -o "$(($2 * zone_sectors))" -c 1 "$dev" && see zoned "state after $1" "$(zone "$2")"
}

section_zoned() {
    disk zoned zoned || return
    zone_sectors=$(cat "$sys/queue/chunk_sectors")
    see zoned model "$(cat "$sys/queue/zoned" 2>/dev/null)"
    [ -e "$sys/queue/nr_zones" ] || return
    see zoned "zones in sysfs" "$(cat "$sys/queue/nr_zones") of $zone_sectors sectors, open $(cat "$sys/queue/max_open_zones"), active $(cat "$sys/queue/max_active_zones")"
    [ "$(cat "$sys/queue/zoned")" = host-managed ] || return
    see zoned "blkzone report" "$(t blkzone report "$dev" | sed 's/.*zcond: *[0-9]*(\([a-z]*\)) *.type: *\([0-9]\).*/\2 \1/' | sort | uniq -c | tr -s '\n ' ' ')"
    see zoned "blkzone capacity" "$(t blkzone capacity "$dev")"
    zoned_command open 4
    dd if=/tmp/pattern of="$dev" bs=4096 seek=$((4 * zone_sectors / 8)) count=3 oflag=direct 2>/dev/null
    zoned_command close 4
    refused zoned "a write beside the write pointer" \
        dd if=/tmp/pattern of="$dev" bs=4096 seek=$((4 * zone_sectors / 8 + 100)) count=1 oflag=direct
    zoned_command finish 4
    zoned_command reset 4
    try zoned "fio --zonemode=zbd" t fio --name=zbd --filename="$dev" --zonemode=zbd --rw=randwrite --bssplit=4k/50:16k/30:64k/20 \
        --offset="$((8 * zone_sectors * 512))" --size="$((4 * zone_sectors * 512))" --io_size=4M --max_open_zones=3 --ioengine=libaio \
        --iodepth=8 --direct=1 --verify=crc32c --verify_fatal=1 --thread --output=/tmp/fio
    t blkzone reset "$dev"
    load zonefs || report zoned "zonefs module" fail "it cannot be loaded"
    try zoned mkzonefs t mkzonefs -f "$dev" || return
    try zoned "mount of zonefs" mount -t zonefs "$dev" /mnt || return
    see zoned "files of zonefs" "$(ls /mnt/cnv | wc -l) and $(ls /mnt/seq | wc -l)"
    for part in 0 1 2; do
        dd if=/tmp/pattern of=/mnt/seq/0 bs=65536 skip=$part seek=$part count=1 oflag=direct conv=notrunc 2>/dev/null
    done
    see zoned "size after three writes" "$(stat -c %s /mnt/seq/0)"
    dd if=/tmp/pattern bs=65536 count=3 2>/dev/null >/tmp/front
    try zoned "read back from zonefs" cmp /tmp/front /mnt/seq/0
    truncate -s 0 /mnt/seq/0
    see zoned "size after truncation" "$(stat -c %s /mnt/seq/0)"
    umount /mnt
}

section_qcow2() {
    disk cow qcow2 || return
    see qcow2 "content of the backing file" "$(content 32)"
    try qcow2 "fio --verify" mix --filename="$dev" --offset=4M --offset_increment="$((8 / jobs))M" --size="$((8 / jobs))M" \
        --bssplit="$small_sizes"
    try qcow2 blkdiscard t blkdiscard --offset 20M --length 4M "$dev"
    try qcow2 "blkdiscard --zeroout" t blkdiscard --zeroout --offset 26M --length 4M "$dev"
    try qcow2 "zeroes after it" zero 26
    see qcow2 "content on the host" "$(content 32)"
    see qcow2 "errors in the log" "$(errors)"
    sync
    step qcow2-content
}

# $1 the section, whose disk has the same name.
nbd() {
    disk "$1" "$1" || return
    step "$1-start"
    turns=0
    while [ "$(control)" != enough ]; do
        try "$1" "fio --verify, server killed" mix --filename="$dev" --offset_increment="$((8 / jobs))M" \
            --size="$((8 / jobs))M" --bssplit="$sizes" --fsync=16 || break
        turns=$((turns + 1))
    done
    see "$1" "errors in the log" "$(errors)"
    see "$1" "content on the host" "$(content 16)"
    step "$1-stop"
}

section_nbd_qemu() { nbd nbd-qemu; }
section_nbd_nbdkit() { nbd nbd-nbdkit; }

for module in virtio_pci virtio_mmio virtio_blk crc32c_generic ext4; do load $module; done
# The firmware's console is for what the kernel says; somebody may wait for a word here.
[ -c /dev/hvc0 ] && echo "see the boot console" >/dev/hvc0
jobs=$(option ringwright.jobs) megabytes=$(option ringwright.megabytes)
see guest kernel "$(uname -srm)"
if control=$(find_disk control); then
    # 4 MiB that are nowhere zero.
    yes "$(cat /proc/sys/kernel/random/uuid)" | head -c 4194304 >/tmp/pattern
    for section in $(option ringwright.sections | tr ,- ' _'); do "section_$section"; done
else
    report guest control fail "no disk with serial number control among: $(cat /sys/block/*/serial)"
fi
report guest end ok "$(cut -d' ' -f1 /proc/uptime) s after boot"
sync
poweroff -f
