/** What is told of each command, in groups: see help.ts. */
import type { Group, Help, Told } from "./help.js";

const STATE: Told = [
  "/var/lib/slashcloud/MOUNT/",
  "The daemon's state, by its mount point (cloud for /cloud, srv-cloud for /srv/cloud): events, maps of names, control.sock. For users other than root: ~/.local/state/slashcloud/MOUNT/.",
];

const CONFIGURATION: readonly Told[] = [
  ["/etc/slashcloud/slashcloud.yaml", "The configuration."],
  ["/etc/slashcloud/guests.d/*.yaml", "Guests, one or a list in each file."],
];

export const PROGRAM: Help = {
  description: [
    "The tree is /MOUNT/HOST/GUEST/PATH, usually below /cloud. It is read-only, and nothing is installed in the guests. slashcloud up serves it; ls, find, grep -r and tail -F read it like any other directory. The file .events in each of its directories, which is not listed, tells what happens there and below.",
    "An IMAGE is a raw file, a block device, nbd://HOST:PORT/EXPORT, nbd+unix:///EXPORT?socket=PATH, or a disk of another format (qcow2, VMDK, VHD, VHDX, VDI, qed), which qemu-nbd reads. The format is what the file's name ends in, or what stands before it: qcow2:/srv/web.img.",
    "nbdkit reads disks that are compressed (web.img.xz, web.img.gz), those on web servers (https://HOST/web.qcow2), and what it is told by name: 'nbdkit:[--filter=NAME ]PLUGIN[ KEY=VALUE]...'. It is started, and ended, with what reads them.",
  ],
  examples: [
    "slashcloud up web=/var/lib/libvirt/images/web.img",
    "grep -r 'Failed password' /cloud/*/*/var/log",
    "tail -F /cloud/*/web/var/log/syslog",
  ],
  files: [
    [
      "/cloud/HOST/GUEST/",
      "A guest's root directory, its other file systems mounted as its /etc/fstab says.",
    ],
    STATE,
  ],
  seeAlso: ["tail(1)", "find(1)", "qemu-nbd(8)", "nbdkit(1)"],
};

const MAP_LINES = `
1 START END v /dev/sda                     the disk
1 START END t /dev/sda gpt                 its partition table
1 START END p /dev/sda1                    a partition
1 START END m /dev/sda1 superblock         metadata: descriptors, bitmap, ...
1 START END m /dev/sda1 map /PATH          and of a file: map, attributes
1 START END d /dev/sda1 /PATH              a directory; f: a file; s: a link`.slice(1);

export const GROUPS: readonly Group[] = [
  [
    "Serve",
    {
      up: {
        description: [
          "A supervisor holds the mount and keeps a server running. When the server is killed, another one takes over and readers notice a pause. SIGTERM and SIGINT end it and unmount the tree; after SIGUSR2 the program that is on disk now takes over.",
        ],
        examples: [
          "slashcloud up --tap unix:/run/tap.sock web=/srv/web.img\nqemu-system-x86_64 ... -drive 'file=nbd+unix:///web?socket=/run/tap.sock,format=raw,file.reconnect-delay=10'",
          "SLASHCLOUD_REDIS=redis://10.0.0.5 slashcloud up web=/srv/web.img",
        ],
        files: [STATE],
        seeAlso: ["status", "attach", "events"],
      },
      add: { seeAlso: ["remove", "up"] },
      remove: { seeAlso: ["add"] },
      attach: {
        description: [
          "QEMU mirrors the guest's writes to slashcloud, so that each is known without a look at the image, and serves disks of other formats than raw for reading. While a guest is attached its QEMU refuses other block jobs and snapshots: detach it for these.",
          "With --capture watch nothing is mirrored: the guest writes as fast as before, its disks are looked at, and snapshots and block jobs go on and are followed. A disk that is not raw still can have no other size until it is detached. Events of writes themselves (written) are not told.",
        ],
        examples: ["slashcloud attach --qmp /run/web.qmp --capture watch web"],
        seeAlso: ["detach", "status"],
      },
      detach: { seeAlso: ["attach"] },
    },
  ],
  [
    "Look",
    {
      events: {
        description: [
          "Events are created, deleted, renamed, linked, unlinked, content, attributes, xattr, symlink and, where each write is known, written. A gap says that events may be missing, and why. --json has the fields that .events has in the tree.",
        ],
        examples: [
          "slashcloud events --since 2h '*:*:/etc/*'",
          "slashcloud events --follow --json '*:*:/etc/passwd' | jq .time",
        ],
        files: [
          ["/cloud/.../.events", "The same as JSON, an object a line, of one directory and all below it."],
          STATE,
        ],
        seeAlso: ["up", "status"],
      },
      ls: { examples: ["slashcloud ls -R --json /srv/web.img:/etc"], seeAlso: ["cat", "stat", "volumes"] },
      cat: {
        examples: ["slashcloud cat /srv/web.img:/etc/passwd /srv/web.img:/etc/group"],
        seeAlso: ["ls", "stat"],
      },
      stat: { seeAlso: ["ls", "cat"] },
      df: {
        description: [
          "A line for each volume, GUEST:VOLUME, in units of 1024 bytes: the numbers that df(1) has in the guest. A word that is no file's name is the name of a guest that a daemon serves; of the daemon's guests numbers come from its tree, so that they are as current as that is. Images are read without a mount and without root.",
        ],
        examples: ["slashcloud df", "slashcloud df --json web | jq '.[] | select(.used > .size * 0.9)'"],
        seeAlso: ["volumes", "inspect", "df(1)"],
      },
      inspect: {
        description: [
          "Each fact is looked for on its own: one that is not told, or cannot be read, is - (null in JSON), and a note says why. Users are those with a shell to log in with; log-ins are the last of each, in UTC. Packages are those of dpkg, apk, pacman, and rpm where its database is SQLite's.",
          "A guest that is served is read in its tree, by the rights of whoever asks and the tree's policy; images are read without a mount and without root.",
        ],
        examples: [
          "slashcloud inspect --packages web",
          "slashcloud inspect --json | jq -r '.[] | \"\\(.guest) \\(.operatingSystem.description)\"'",
        ],
        seeAlso: ["df", "volumes"],
      },
      volumes: { seeAlso: ["map", "ls", "df", "inspect"] },
      crawl: { examples: ["slashcloud up --crawl web.bson.gz web=/srv/web.img"], seeAlso: ["map", "up"] },
      map: {
        description: [
          "START and END (the byte after the last) are bytes of the disk in hexadecimal. A file has the first of its names, or <INODE>; control characters and backslashes in it are \\xNN. What no line but those of the disk and a partition has is free.",
        ],
        lines: { heading: "Lines, in the form of virt-bmap's block map", text: MAP_LINES },
        seeAlso: ["volumes", "trace"],
      },
    },
  ],
  [
    "Streams",
    {
      tap: {
        description: [
          "The tap is in the guest's way to its disk: when it ends, the guest gets I/O errors. Writes are acknowledged before they are recorded. SIGINT and SIGTERM end it.",
        ],
        seeAlso: ["replay", "trace", "up"],
      },
      trace: {
        description: [
          "SECONDS are since the start; the action is read, write, zeroes or discard; OFFSET in the file, or on the device for what is no file's contents; LENGTH in bytes, of what goes on from access to access together. What is there is told as by map, and as u where it is nobody's. Writes to a new file are told when the guest has committed whose they are. For a guest whose writes are not to be kept, give QEMU -snapshot.",
        ],
        lines: { heading: "Lines", text: "SECONDS read OFFSET LENGTH f /dev/sda1 /PATH" },
        seeAlso: ["map", "tap"],
      },
      replay: { seeAlso: ["tap"] },
    },
  ],
  [
    "Administration",
    {
      status: {
        description: [
          "A line for each volume: how it is followed (watch: by looking at the image; stream: each write is known), the last transaction that was taken, whether events have paths, and how often and why it had to be read afresh; then the daemon's processes, and what is not well, with its reason.",
          "COMMIT LAG is from the last commit, by the guest's clock, to its being in the tree; TAKEN IN the part of it from the look that found it; LOOKED how long ago the image was last seen: what was written before is shown. EVENTS/S are of the last 10 s.",
        ],
        exit: [["3", "Something is not well; it is told why."]],
        examples: ["slashcloud status --json | jq '.volumes[] | select(.state != \"followed\")'"],
        files: [STATE],
        seeAlso: ["up", "events", "top"],
      },
      top: {
        description: [
          "Keys: e, w, l and n sort by events, written bytes, lag and name; q ends.",
          'WRITTEN/S is what the guest writes if each of its writes is told (up --tap, attach); with a "+", it is what its journal brings, and file contents come on top. LOOKED is how long ago its image was last seen; what was written before is shown.',
        ],
        seeAlso: ["status", "events"],
      },
      doctor: { seeAlso: ["status", "check"] },
      check: { files: CONFIGURATION, seeAlso: ["reload", "slashcloud.yaml(5)"] },
      reload: { files: CONFIGURATION, seeAlso: ["check", "slashcloud.yaml(5)"] },
      renew: {
        description: [
          "After an update: the program that is on disk now is started as the daemon was, takes over the mount, all that readers have open, and guests that are attached to, and the old one ends. Readers notice a pause. If the new one cannot do it, all stays as it is. A tap that guests use goes on by the former program. Under systemd the service has another main process then; elsewhere the one before stays until the new one ends, for whoever has started it. It needs the kernel driver, and Linux 6.9 or later.",
        ],
        seeAlso: ["reload", "install"],
      },
      export: {
        examples: ["slashcloud export samba --user @admins --install"],
        seeAlso: ["export samba", "export nfs", "export autofs"],
      },
      "export samba": { seeAlso: ["export nfs", "export autofs", "smb.conf(5)"] },
      "export nfs": { seeAlso: ["export samba", "export autofs", "exports(5)"] },
      "export autofs": { seeAlso: ["export samba", "export nfs", "auto.master(5)"] },
      install: { files: CONFIGURATION, seeAlso: ["uninstall", "systemctl(1)"] },
      uninstall: { seeAlso: ["install"] },
      completion: {
        description: [
          "Commands, options, paths of images, paths inside an image (ls, cat, stat) and the running daemon's guests are completed. For bash the package bash-completion is needed.",
        ],
        examples: [
          "slashcloud completion zsh > /usr/share/zsh/vendor-completions/_slashcloud",
          "slashcloud completion fish > /etc/fish/completions/slashcloud.fish",
        ],
        seeAlso: ["bash(1)", "zsh(1)", "fish(1)"],
      },
    },
  ],
];
