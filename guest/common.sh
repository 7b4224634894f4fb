#!/bin/sh
# What the first processes of all example guests share; sourced.
failed=0 patience=900 # seconds to wait for another machine that is still booting

word() { # word KEY: the value of KEY=value on the command line
    for w in $cmdline; do
        case $w in "$1="*) echo "${w#*=}" ;; esac
    done
}

check() { # check WHAT COMMAND...: run it, say how it went
    what=$1
    shift
    if "$@"; then
        echo "CHECK $what ok"
    else
        echo "CHECK $what FAIL"
        failed=1
    fi
}

until_true() { # until_true SECONDS COMMAND...: try again and again
    end=$(($(cut -d. -f1 /proc/uptime) + $1))
    shift
    until "$@"; do
        [ "$(cut -d. -f1 /proc/uptime)" -lt "$end" ] || return 1
        sleep 1
    done
}

mount_all() {
    mount -t devtmpfs none /dev
    mount -t proc none /proc
    mount -t sysfs none /sys
    mount -t tmpfs none /run
}

who_am_i() {
    cmdline=$(cat /proc/cmdline)
    name=$(word hairline.name)
    role=$(word hairline.role)
    hostname "${name:=guest}"
}

tell_pcrs() { # what the machine's TPM has of its boot, if this VM has that
    for pcr in 4 11; do
        file=/sys/class/tpm/tpm0/pcr-sha256/$pcr
        [ ! -r $file ] || echo "PCR $pcr sha256 $(tr A-F a-f <$file)"
    done
    driver=/sys/class/tpm/tpm0/device/driver
    [ ! -e $driver ] || echo "TPM $(basename "$(readlink $driver)")"
}

load() { # load LIST: the modules of /modules/LIST
    while read -r module; do
        insmod "/modules/$module" 2>/dev/null # crc32c-intel refuses some processors
    done <"/modules/$1"
}

button() { # the file of the power button's events; none: this kernel has no such driver
    for event in $(cd /sys/class/input && ls -d event*); do
        [ "$(cat "/sys/class/input/$event/device/name")" != "Hairline power button" ] || echo "/dev/input/$event"
    done
}

at_button() { # at_button COMMAND...: run it once the button is pressed
    events=$(button)
    [ -z "$events" ] || { head -c 24 "$events" >/dev/null && "$@"; } &
}

same_data() { # same_data FOLDER: what is written there is what is read from its disk
    dd if=/dev/urandom of=/run/data bs=64k count=16 2>/dev/null
    cp /run/data "$1/data" && sync && echo 3 >/proc/sys/vm/drop_caches
    cmp /run/data "$1/data"
}

blank() { # blank DISK: its first MiB is zeros
    [ "$(head -c 1048576 "/dev/$1" | tr -d '\0' | wc -c)" = 0 ]
}

set_up_blank() { # set_up_blank DISK: a volume, at its first boot
    blank "$1" && mke2fs "/dev/$1" >/dev/null && mount -t ext4 "/dev/$1" "/mnt/$1" &&
        echo "This is the disk of $name, set up at its first boot." >"/mnt/$1/README"
}

disk_check() { # disk_check DISK: mount it, read it; write to it and read back, where it lets us
    mkdir -p "/mnt/$1"
    if [ "$(cat "/sys/block/$1/ro")" = 1 ]; then
        mount -t ext4 -o ro "/dev/$1" "/mnt/$1" && cat "/mnt/$1/README"
        return
    fi
    mount -t ext4 "/dev/$1" "/mnt/$1" 2>/dev/null || set_up_blank "$1" || return 1
    cat "/mnt/$1/README" && same_data "/mnt/$1"
}

ping_check() { ping -c 1 -W 2 -q "$1" >/dev/null 2>&1; }

page_check() { # page_check NAME IP: its page over HTTP is its own
    [ "$(timeout 20 wget -q -O - "http://$2/" 2>/dev/null)" = "hello from $1" ]
}

say_checks() { [ "$failed" = 0 ] && echo "HAIRLINE-CHECKS: ok" || echo "HAIRLINE-CHECKS: failed"; }

is_batch() { case " $cmdline " in *" hairline.batch "*) ;; *) return 1 ;; esac }
