/**
 * `npm run deb`: makes a Debian package of what `npm run build` has built, in dist/. The same inputs give the same bytes:
 * all times in it are SOURCE_DATE_EPOCH, or the last commit's.
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  lutimesSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const source = join(here, "../..");
const { layout } = await import("../../dist/daemon/install/layout.js").catch(() => {
  throw new Error("dist is not there: run npm run build first");
});

const { version: upstream, description, engines } = JSON.parse(readFileSync(join(source, "package.json"), "utf8"));
const version = `${upstream}-1`;
const node = engines.node.replace(">=", "");
// Whoever makes the package says who answers for it, as to Debian's own tools.
const { DEBFULLNAME: fullName = "slashcloud's maintainers", DEBEMAIL: mail = "root@localhost" } = process.env;
const maintainer = `${fullName} <${mail}>`;
const epoch = Number(process.env.SOURCE_DATE_EPOCH ?? lastCommit());
const architecture = execFileSync("dpkg", ["--print-architecture"], { encoding: "utf8" }).trim();

const stage = mkdtempSync(join(tmpdir(), "slashcloud-deb-"));
try {
  process.umask(0o022);
  chmodSync(stage, 0o755);
  const items = [
    // The mount point is made by postinst: as a part of the package it would be in the way while something is mounted there.
    ...layout({ prefix: "/usr", command: "/usr/bin/slashcloud", mount: undefined }).map(asDebianHasIt),
    ...documents(),
  ];
  let bytes = 0;
  const sums = [];
  for (const item of items) {
    const path = join(stage, item.path);
    mkdirSync(item.kind === "directory" ? path : dirname(path), { recursive: true });
    if (item.kind === "link") symlinkSync(item.target, path);
    if (item.kind !== "file") continue;
    writeFileSync(path, item.content);
    chmodSync(path, item.mode);
    bytes += 4096 * Math.ceil(item.content.length / 4096);
    if (!item.isConfiguration) sums.push(`${md5(item.content)}  ${item.path.slice(1)}\n`);
  }
  const control = join(stage, "DEBIAN");
  mkdirSync(control);
  const conffiles = items.filter(({ isConfiguration }) => isConfiguration).map(({ path }) => `${path}\n`);
  writeFileSync(join(control, "control"), controlText(Math.ceil(bytes / 1024)));
  writeFileSync(join(control, "md5sums"), sums.sort().join(""));
  if (conffiles.length > 0) writeFileSync(join(control, "conffiles"), conffiles.join(""));
  for (const script of ["postinst", "prerm", "postrm"]) {
    writeFileSync(join(control, script), readFileSync(join(here, script)));
    chmodSync(join(control, script), 0o755);
  }
  setTimes(stage);
  const file = join(source, "dist", `slashcloud_${version}_${architecture}.deb`);
  execFileSync("dpkg-deb", ["--root-owner-group", "-Zxz", "--build", stage, file], {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, SOURCE_DATE_EPOCH: String(epoch) },
  });
  console.log(file);
} finally {
  rmSync(stage, { recursive: true, force: true });
}

/** By policy: the interpreter by its path, pages of the manual compressed. */
function asDebianHasIt(item) {
  if (item.kind !== "file") return item;
  if (item.path.endsWith("/slashcloud/dist/main.js")) {
    const text = item.content.toString().replace(/^#!.*/, "#!/usr/bin/node");
    return { ...item, content: Buffer.from(text) };
  }
  if (item.path.startsWith("/usr/share/man/"))
    return { ...item, path: `${item.path}.gz`, content: gzipSync(item.content, { level: 9 }) };
  return item;
}

function documents() {
  const at = new Date(epoch * 1000).toUTCString().replace("GMT", "+0000");
  const changelog = `slashcloud (${version}) unstable; urgency=medium\n\n  * Version ${upstream}.\n\n -- ${maintainer}  ${at}\n`;
  const copyright = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: slashcloud's authors
License: Apache-2.0
 On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.

Files: usr/lib/slashcloud/node_modules/*
Copyright: their authors
License: as in each package
 Each has its licence in its own folder, or names it in its package.json.
`;
  const file = (name, content) => ({
    kind: "file",
    path: `/usr/share/doc/slashcloud/${name}`,
    content: Buffer.from(content),
    mode: 0o644,
  });
  return [file("changelog.Debian.gz", gzipSync(changelog, { level: 9 })), file("copyright", copyright)];
}

function controlText(size) {
  return `Package: slashcloud
Version: ${version}
Architecture: ${architecture}
Maintainer: ${maintainer}
Installed-Size: ${size}
Depends: nodejs (>= ${node}), mount, util-linux, init-system-helpers (>= 1.52)
Recommends: qemu-utils, kmod
Suggests: samba, nfs-ganesha-vfs, redis-server, libvirt-clients, fuse
Section: admin
Priority: optional
Description: ${description}
 The tree is /cloud/HOST/GUEST/PATH, kept current by the journals of the guests'
 own file systems, with nothing installed in the guests.
 .
 It needs Node ${node} or later. Debian 12 itself has Node 18: there, install
 the package nodejs of nodesource.com, or of a later Debian, first.
`;
}

function lastCommit() {
  try {
    return execFileSync("git", ["-C", source, "log", "-1", "--format=%ct"], { encoding: "utf8" }).trim();
  } catch {
    throw new Error("set SOURCE_DATE_EPOCH: this is no checkout whose last commit has a time");
  }
}

function md5(content) {
  return createHash("md5").update(content).digest("hex");
}

function setTimes(path) {
  for (const entry of readdirSync(path, { withFileTypes: true })) {
    if (entry.isDirectory()) setTimes(join(path, entry.name));
    else lutimesSync(join(path, entry.name), epoch, epoch);
  }
  lutimesSync(path, epoch, epoch);
}
