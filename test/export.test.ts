/** `slashcloud export`: what it prints, what the servers' own programs say of it, and how it is put in place. */
import { execFileSync, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, expect, test, vi } from "vitest";
import { checkExports, checkGanesha, checkSamba } from "../src/exports/check.js";
import { cleanUp, workFolder } from "./support/images-mount.js";
import { main } from "./support/images-serve.js";

vi.setConfig({ testTimeout: 120_000 });

const folder = workFolder("export");
afterAll(cleanUp);

const empty = join(folder, "empty.yaml");
writeFileSync(empty, "{}\n");

interface Ended {
  readonly code: number | null;
  readonly output: string;
  readonly errors: string;
}

function slashcloud(...args: readonly string[]): Ended {
  // Not what this machine has in /etc.
  const config = args.includes("--config") ? [] : ["--config", empty];
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, "export", ...args, ...config], {
    encoding: "utf8",
  });
  return { code: status, output: stdout, errors: stderr };
}

/** What is printed; it must be. */
function printed(...args: readonly string[]): string {
  const { code, output, errors } = slashcloud(...args);
  expect(errors).toBe("");
  expect(code).toBe(0);
  return output;
}

/** A new directory, and a file of it. */
function place(name: string, files: Readonly<Record<string, string>> = {}): (path: string) => string {
  const root = join(folder, name);
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  mkdirSync(root, { recursive: true });
  return (path) => join(root, path);
}

const GUEST = ["--guest-ok", "--hosts-allow", "192.0.2.0/24"];
const SMB_CONF = "[global]\n   workgroup = WORK\n[data]\n   path = /srv";

test("Samba: each share is read-only, and for those who were named", () => {
  const text = printed("samba", "--user", "@admins", "--user", "eve", "--host", "h1");
  expect(text).toMatch(/^\[cloud\]$/m);
  expect(text).toMatch(/^ +path = \/cloud$/m);
  expect(text).toMatch(/^ +read only = yes$/m);
  expect(text).toMatch(/^ +guest ok = no$/m);
  expect(text).toMatch(/^ +valid users = @admins eve$/m);
  expect(text).toMatch(/^ +oplocks = no$/m);
  expect(text).not.toMatch(/force user|map to guest/);
  const guests = printed(
    "samba",
    ...GUEST,
    "--guest",
    "web",
    "--guest",
    "db 1",
    "--host",
    "h1",
    "--no-global",
    "--no-links",
  );
  expect(guests.match(/^\[.*\]$/gm)).toEqual(["[global]", "[web]", "[db 1]", "[global]"]);
  expect(guests).toMatch(/^ +path = \/cloud\/h1\/db 1$/m);
  expect(guests).toMatch(/^ +hosts allow = 192\.0\.2\.0\/24$/m);
  expect(guests).toMatch(/^ +follow symlinks = no$/m);
  expect(guests).not.toMatch(/smb2 leases/);
  expect(printed("samba", ...GUEST, "--as-root", "audits", "--of", "host", "--host", "h1")).toMatch(
    /\[h1\]\n[^[]*# audits\n +force user = root\n/,
  );
});

test("what the daemon's configuration says is exported, and options go before it", () => {
  const config = place("config", {
    "slashcloud.yaml": `mount: /srv/tree
host: h9
exports:
  samba:
    users: ["@ops"]
    shares:
      - of: guests
      - of: tree
        name: all
        users: [root]
  nfs:
    clients: [192.0.2.0/24]
    port: 20490
guests:
  - name: web
    disks: /srv/web.img
`,
    "guests.d/db.yaml": "name: db\ndisks: /srv/db.img\n",
  })("slashcloud.yaml");
  const samba = printed("samba", "--config", config);
  expect(samba.match(/^\[.*\]$/gm)).toEqual(["[global]", "[db]", "[web]", "[all]", "[global]"]);
  expect(samba).toMatch(/\[web\]\n +path = \/srv\/tree\/h9\/web\n[^[]*valid users = @ops\n/);
  expect(samba).toMatch(/\[all\]\n +path = \/srv\/tree\n[^[]*valid users = root\n/);
  const ganesha = printed("nfs", "--ganesha", "--config", config, "--port", "2049", "--mount", "/elsewhere");
  for (const line of ['Path = "/elsewhere";', "NFS_Port = 2049;", "Clients = 192.0.2.0/24;"])
    expect(ganesha).toContain(line);
  expect(slashcloud("nfs", "--config", "/nowhere.yaml")).toMatchObject({ code: 1, output: "" });
});

test("NFS: the kernel's server is told which file system it is, NFS-Ganesha not to keep anything", () => {
  const line = printed(
    "nfs",
    "--client",
    "192.0.2.0/24",
    "--client",
    "h.example",
    "--mount",
    "/srv/the cloud",
  );
  expect(line).toMatch(
    /^\/srv\/the\\040cloud 192\.0\.2\.0\/24\(ro,fsid=\d+,no_subtree_check,crossmnt,insecure,all_squash,anonuid=65534,anongid=65534\) h\.example\(ro,/m,
  );
  expect(
    printed("nfs", "--client", "192.0.2.0/24", "--client", "h.example", "--mount", "/srv/the cloud"),
  ).toBe(line);
  expect(printed("nfs", "--client", "h", "--as-root", "backups", "--fsid", "77")).toMatch(
    /^# As root: backups\n.*h\(ro,fsid=77,.*all_squash,anonuid=0,anongid=0\)$/m,
  );
  const conf = printed("nfs", "--ganesha", "--client", "192.0.2.7", "--squash", "root", "--port", "20490");
  for (const line of [
    "Attr_Expiration_Time = 0;",
    "Dir_Chunk = 0;",
    "NFS_Port = 20490;",
    "Squash = Root_Squash;",
    "Access_Type = None;",
  ])
    expect(conf).toContain(line);
});

test("the automounter reads its maps, and finds each host", () => {
  const prefix = place("autofs");
  const servers = ["--server", "h1=192.0.2.1", "--server", "h2"];
  const said = printed("autofs", ...servers, "--install", "--prefix", prefix(""));
  expect(said).toContain("are written");
  const map = readFileSync(prefix("etc/auto.slashcloud"), "utf8");
  expect(map).toMatch(/^h1 -fstype=nfs4,ro,.*actimeo=0,lookupcache=none.* 192\.0\.2\.1:\/cloud\/h1$/m);
  expect(printed("autofs", ...servers, "--protocol", "cifs", "--keep", "5")).toMatch(
    /^h2 -fstype=cifs,ro,.*actimeo=5,guest :\/\/h2\/cloud\/h2$/m,
  );
  // As on a client: the maps where the automounter looks.
  const script = `sed -i "s# /etc/auto.slashcloud # $1/auto.slashcloud #" "$1/auto.master.d/slashcloud.autofs" &&
    mount --bind "$1/auto.master.d" /etc/auto.master.d && automount -m`;
  const dump = execFileSync(
    "unshare",
    ["-m", "--propagation", "private", "sh", "-c", script, "sh", prefix("etc")],
    {
      encoding: "utf8",
    },
  );
  expect(dump).toMatch(/Mount point: \/cloud\n/);
  expect(dump).toMatch(/ h1 \| -fstype=nfs4,ro,.* 192\.0\.2\.1:\/cloud\/h1\n/);
});

test.each([
  ["nobody may read", ["samba"], /who may read it\?/],
  ["anyone may read from anywhere", ["samba", "--guest-ok"], /name the machines/],
  ["users and guests", ["samba", ...GUEST, "--user", "eve"], /not both/],
  [
    "a user's name has a line's end",
    ["samba", "--user", "eve\nguest ok = yes"],
    /exports\.samba\.users\.0: /,
  ],
  [
    "a reason has a line's end",
    ["samba", ...GUEST, "--as-root", "x\nforce user = eve"],
    /exports\.samba\.asRoot: /,
  ],
  [
    "a share's name ends its section",
    ["samba", ...GUEST, "--name", "x]"],
    /exports\.samba\.shares\.0\.name: /,
  ],
  ["a guest has no name for a share", ["samba", ...GUEST, "--guest", "a/b"], /cannot be a share's name/],
  ["there are no guests", ["samba", ...GUEST, "--of", "guests", "--mount", "/nowhere"], /there is no guest/],
  ["the path is a macro of Samba's", ["samba", ...GUEST, "--mount", "/srv/%u/cloud"], /cannot be written/],
  ["no client", ["nfs"], /who may mount the tree\?/],
  ["a client brings options", ["nfs", "--client", "h(rw)"], /exports\.nfs\.clients\.0: /],
  ["a port of the kernel's", ["nfs", "--client", "h", "--port", "1"], /add --ganesha/],
  ["a prefix for nothing", ["nfs", "--client", "h", "--prefix", "/tmp"], /add --install/],
])("wrong usage is one line, and 2: %s", (_, args, message) => {
  const { code, output, errors } = slashcloud(...args);
  expect(code).toBe(2);
  expect(output).toBe("");
  expect(errors).toMatch(message);
  expect(errors.trimEnd().split("\n").length).toBe(1);
});

test("what is put in place for Samba is included once, and takes nothing of smb.conf's own away", async () => {
  const prefix = place("samba", { "etc/samba/smb.conf": SMB_CONF });
  const conf = prefix("etc/samba/smb.conf");
  chmodSync(conf, 0o640);
  const install = ["samba", ...GUEST, "--install", "--prefix", prefix("")];
  expect(printed(...install)).toContain("includes it now");
  const text = readFileSync(conf, "utf8");
  expect(text.startsWith(`${SMB_CONF}\n`)).toBe(true);
  expect(text.match(/include = \/etc\/samba\/slashcloud\.conf/g)).toHaveLength(1);
  expect(statSync(conf).mode & 0o777).toBe(0o640);
  expect(printed(...install)).not.toContain("includes it now");
  expect(readFileSync(conf, "utf8")).toBe(text);
  expect(await checkSamba(prefix("etc/samba/slashcloud.conf"))).toBe("");
  // Samba's own reading of both: the settings after the include are global ones again.
  const whole = prefix("whole.conf");
  writeFileSync(
    whole,
    `${text.replace("/etc/samba/slashcloud.conf", prefix("etc/samba/slashcloud.conf"))}\n   workgroup = LATER\n`,
  );
  const read = execFileSync("testparm", ["-s", whole], {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "ignore"],
  });
  expect(read).toMatch(/\[global\][^[]*workgroup = LATER/);
  expect(read).toMatch(/\[cloud\][^[]*path = \/cloud\n/);
  expect(read).toMatch(/\[data\][^[]*path = \/srv\n/);
});

test("a share's name that smb.conf has already is refused", () => {
  const prefix = place("taken", { "etc/samba/smb.conf": `${SMB_CONF}\n[ Cloud ]\n   path = /elsewhere\n` });
  const { code, errors } = slashcloud("samba", ...GUEST, "--install", "--prefix", prefix(""));
  expect(code).toBe(1);
  expect(errors).toMatch(/has a share \[cloud\] already/);
  expect(existsSync(prefix("etc/samba/slashcloud.conf"))).toBe(false);
});

test("what a server's own program refuses is not put in place, and the former file stays", () => {
  const prefix = place("refused");
  const install = (client: string, ...more: string[]): Ended =>
    slashcloud("nfs", "--client", client, ...more, "--install", "--prefix", prefix(""));
  expect(install("192.0.2.1").errors).toBe("");
  const former = readFileSync(prefix("etc/exports.d/slashcloud.exports"), "utf8");
  const refused = install("192.0.2.1/99");
  expect(refused.code).toBe(1);
  expect(refused.errors).toMatch(/^slashcloud: exportfs refuses .*Invalid prefix.*the former stays\n$/);
  expect(readFileSync(prefix("etc/exports.d/slashcloud.exports"), "utf8")).toBe(former);
  const ganesha = install("192.0.2.1/99", "--ganesha");
  expect(ganesha.code).toBe(1);
  expect(ganesha.errors).toMatch(/^slashcloud: NFS-Ganesha refuses .*192\.0\.2\.1\/99.*the former stays\n$/);
  expect(existsSync(prefix("etc/ganesha/ganesha.conf"))).toBe(false);
});

test("NFS-Ganesha's configuration of somebody else's is kept beside", () => {
  const own = "NFS_CORE_PARAM { NFS_Port = 1; }\n";
  const prefix = place("kept", { "etc/ganesha/ganesha.conf": own });
  const install = ["nfs", "--ganesha", "--client", "192.0.2.1", "--install", "--prefix", prefix("")];
  for (let times = 0; times < 2; times++) {
    printed(...install);
    expect(readFileSync(prefix("etc/ganesha/ganesha.conf.before-slashcloud"), "utf8")).toBe(own);
    expect(readFileSync(prefix("etc/ganesha/ganesha.conf"), "utf8")).toContain('Path = "/cloud"');
  }
  expect(readFileSync(prefix("etc/systemd/system/nfs-ganesha.service.d/slashcloud.conf"), "utf8")).toMatch(
    /After=slashcloud\.service\nPartOf=slashcloud\.service\n/,
  );
});

test("servers' programs say what is wrong with a file, also where they end with 0", async () => {
  const good = printed("samba", ...GUEST);
  const path = join(folder, "wrong.conf");
  const wrong = async (from: string, to: string): Promise<string | undefined> => {
    writeFileSync(path, good.replace(from, to));
    return checkSamba(path);
  };
  expect(await wrong("oplocks", "opplocks")).toContain('"opplocks"');
  expect(await wrong("= SMB2_10", "= SMB9")).toContain("SMB9");
  expect(await wrong("oplocks = no", "oplocks = perhaps")).toContain("perhaps");
  expect(await wrong("[cloud]\n", "[cloud]\n   smb2 leases = no\n")).toContain("service section");
  expect(await wrong("", "")).toBe("");
  const exported = printed("nfs", "--client", "192.0.2.1");
  expect(await checkExports(exported)).toBe("");
  expect(await checkExports(exported.replace("fsid=", "fsidd="))).toContain("fsidd");
  const ganesha = printed("nfs", "--client", "192.0.2.1", "--ganesha").replace(/ +Bind_addr.*\n/, "");
  expect(await checkGanesha(ganesha)).toBe("");
  expect(await checkGanesha(ganesha.replace("Attr_Exp", "Atr_Exp"))).toContain("Atr_Expiration_Time");
  expect(await checkGanesha(ganesha.replace("All_Squash", "Al_Squash"))).toContain("Al_Squash");
});
