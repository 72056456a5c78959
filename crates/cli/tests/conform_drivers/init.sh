#!/bin/busybox sh
# The only process of a guest: uses one virtio device, which `work` names, twice, and ends the machine.
export PATH=/bin
/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
say() { echo "<1>guest: $1" >/dev/kmsg; }

# Loads a module and before it what it needs, by lines `name.ko: first.ko second.ko`.
load() {
    while read -r name needs; do
        [ "$name" = "$1.ko:" ] || continue
        for file in $needs "$1.ko"; do insmod "/modules/$file" 2>/dev/null; done
    done </modules/modules.dep
}

block() {
    for try in 1 2 3 4 5 6 7 8 9 10; do [ -b /dev/vda ] && break; sleep 0.1; done
    [ -b /dev/vda ] || return 1
    for place in 0 1 2 3 4 5 6 7; do
        dd if=/bin/busybox of=/dev/vda bs=512 count=4 seek=$place oflag=direct conv=notrunc
    done
    dd if=/bin/busybox of=/dev/vda bs=4k count=16
    sync
    dd if=/dev/vda of=/tmp/read bs=4k count=16 iflag=direct
    dd if=/dev/vda of=/dev/null bs=64k
    dd if=/bin/busybox of=/tmp/written bs=4k count=16
    cmp /tmp/read /tmp/written
}

network() {
    ifconfig eth0 10.0.0.1 netmask 255.255.255.0 up || return 1
    arping -c 3 -I eth0 10.0.0.2
    arp -s 10.0.0.3 02:00:00:00:00:03
    ping -c 3 -W 1 -s 1000 10.0.0.3
    ifconfig eth0 down
}

entropy() {
    dd if=/dev/hwrng of=/tmp/random bs=16 count=20
    [ -s /tmp/random ]
}

console() {
    [ -c /dev/hvc0 ] || return 1
    for line in 1 2 3 4 5; do echo "line $line" >/dev/hvc0; done
}

case $work in
    block) module=virtio_blk ;;
    network) module=virtio_net ;;
    entropy) module=virtio_rng ;;
    console) module=virtio_console ;;
esac
load virtio_pci
for life in first second; do
    load $module
    $work >/dev/null 2>&1 && say "works, $life time"
    rmmod $module 2>/dev/null || { say "$module stays"; break; }
done
say ends
poweroff -f
