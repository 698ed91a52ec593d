/** `slashcloud inspect` of Windows guests: by their registry, also where it is damaged. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test, vi } from "vitest";
import { makeNtfs, mountNtfs } from "./support/compressed.js";
import { slashcloud } from "./support/control-socket.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { serve } from "./support/images-serve.js";
import { imageOf, makeFiles } from "./support/inspected-guest.js";
import { addByHivex, below, buildHive, type KeyTree, key } from "./support/registry-hive.js";

vi.setConfig({ testTimeout: 120_000 });

const folder = workFolder("inspect-windows");
afterAll(cleanUp);

function inspected(image: string): Record<string, unknown> {
  const { code, output, errors } = slashcloud("inspect", "--json", "--packages", `pc=${image}`);
  expect({ code, errors }).toEqual({ code: 0, errors: "" });
  return (JSON.parse(output) as Record<string, unknown>[])[0]!;
}

const CURRENT_VERSION = {
  ProductName: "Windows 10 Pro",
  CurrentVersion: "6.3",
  CurrentMajorVersionNumber: 10,
  CurrentMinorVersionNumber: 0,
  CurrentBuild: "22631",
  UBR: 2506,
  DisplayVersion: "23H2",
  ReleaseId: "2009",
  EditionID: "Professional",
  InstallDate: 1_700_000_000,
};

function uninstall(name: string): KeyTree {
  return key(
    name,
    {},
    key("{0F1E2D3C}", {
      DisplayName: "Example Büro 2.1",
      DisplayVersion: "2.1.7",
      Publisher: "Example GmbH",
      InstallDate: "20260130",
    }),
    key("Plain", { DisplayName: "Plain", InstallDate: "30.01.2026" }),
    key("KB5012170", { ParentKeyName: "OperatingSystem" }),
  );
}

function software(values: Record<string, string | number> = CURRENT_VERSION): KeyTree {
  return key(
    "ROOT",
    {},
    key(
      "Microsoft",
      {},
      below("Windows NT\\CurrentVersion", (name) => key(name, values)),
      below("Windows\\CurrentVersion\\Uninstall", uninstall),
    ),
    below("WOW6432Node\\Microsoft\\Windows\\CurrentVersion\\Uninstall", (name) =>
      key(name, {}, key("7-Zip", { DisplayName: "7-Zip 23.01", DisplayVersion: "23.01" })),
    ),
  );
}

const MBR = Buffer.from("443322110000100000000000", "hex");
const GPT = Buffer.concat([
  Buffer.from("DMIO:ID:", "latin1"),
  Buffer.from("00112233445566778899aabbccddeeff", "hex"),
]);

function control(machine: string, computer: string): KeyTree {
  return key(
    "Control",
    {},
    below("ComputerName\\ComputerName", (name) => key(name, { ComputerName: computer })),
    below("Session Manager\\Environment", (name) => key(name, { PROCESSOR_ARCHITECTURE: machine })),
    key("TimeZoneInformation", {
      TimeZoneKeyName: "W. Europe Standard Time",
      StandardName: "@tzres.dll,-322",
    }),
  );
}

function system(): KeyTree {
  return key(
    "ROOT",
    {},
    key("Select", { Current: 2, Default: 2 }),
    key("ControlSet001", {}, control("x86", "OLD")),
    key("ControlSet002", {}, control("AMD64", "PC-7")),
    key("MountedDevices", {
      "\\DosDevices\\D:": GPT,
      "\\DosDevices\\C:": MBR,
      "\\DosDevices\\E:": Buffer.from("\\??\\SCSI#CdRom", "utf16le"),
      "\\??\\Volume{0}": MBR,
    }),
  );
}

async function guest(name: string, files: Record<string, Buffer | string>): Promise<string> {
  const root = join(folder, name);
  mkdirSync(root);
  makeFiles(root, files);
  return imageOf(root, join(folder, `${name}.img`));
}

/** A disk as Windows divides it, with a small volume for booting and one for itself. */
async function windowsDisk(): Promise<string> {
  const disk = join(folder, "disk.img");
  await run("truncate", ["-s", "300M", disk]);
  execFileSync("sfdisk", ["-q", disk], {
    input: "label: dos\nstart=2048, size=65536, type=7, bootable\nstart=67584, type=7\n",
  });
  for (const [index, first] of [2048, 67584].entries()) {
    const image = join(folder, `volume-${index}.img`);
    await makeNtfs(image, index === 0 ? 32 : 128);
    const mounted = join(folder, `volume-${index}`);
    const unmount = await mountNtfs(image, mounted, "permissions");
    try {
      makeFiles(
        mounted,
        index === 0
          ? { "Boot/BCD": buildHive(key("ROOT", {})), bootmgr: "" }
          : {
              "Windows/System32/config/SOFTWARE": buildHive(software()),
              "Windows/System32/config/SYSTEM": buildHive(system()),
              "pagefile.sys": "",
            },
      );
    } finally {
      await unmount();
    }
    await run("dd", ["status=none", `if=${image}`, `of=${disk}`, `seek=${first}`, "conv=notrunc,sparse"]);
  }
  return disk;
}

describe("a Windows guest", () => {
  let image: string;

  test("is told by its registry, whatever the case of its files' names", async () => {
    image = await guest("whole", {
      "WINDOWS/system32/config/software": buildHive(software()),
      "WINDOWS/system32/config/System": buildHive(system(), "lf"),
      "Users/me/file": "",
    });
    expect(inspected(image)).toEqual({
      guest: "pc",
      operatingSystem: {
        id: "windows",
        name: "Windows 11 Pro",
        version: "10.0.22631.2506",
        codename: "23H2",
        description: "Windows 11 Pro 23H2 (10.0.22631.2506)",
        source: "/WINDOWS/system32/config/software",
      },
      hostName: "PC-7",
      architecture: {
        name: "x86_64",
        bits: 64,
        endian: "little",
        source: "/WINDOWS/system32/config/System",
      },
      timeZone: "W. Europe Standard Time",
      kernels: null,
      users: null,
      logins: null,
      windows: {
        edition: "Professional",
        installed: "2023-11-14T22:13:20Z",
        drives: [
          { letter: "C:", diskSignature: "11223344", offset: 1048576 },
          { letter: "D:", partition: "33221100-5544-7766-8899-aabbccddeeff" },
          { letter: "E:", device: "\\??\\SCSI#CdRom" },
        ],
      },
      packageDatabases: [
        {
          manager: "windows",
          path: "HKLM\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Uninstall",
          count: 2,
          packages: [
            {
              name: "Plain",
              version: "",
              architecture: "",
              publisher: "",
              installed: "",
            },
            {
              name: "Example Büro 2.1",
              version: "2.1.7",
              architecture: "",
              publisher: "Example GmbH",
              installed: "2026-01-30",
            },
          ],
        },
        {
          manager: "windows",
          path: "HKLM\\SOFTWARE\\WOW6432Node\\Microsoft\\Windows\\CurrentVersion\\Uninstall",
          count: 1,
          packages: [
            { name: "7-Zip 23.01", version: "23.01", architecture: "x86", publisher: "", installed: "" },
          ],
        },
      ],
      notes: [],
    });
  });

  test("is told to people in lines", () => {
    const { code, output } = slashcloud("inspect", "--packages", `pc=${image}`);
    expect(code).toBe(0);
    expect(output).toMatch(/^pc\n {2}system +Windows 11 Pro 23H2 \(10\.0\.22631\.2506\)\n/);
    expect(output).toMatch(/^ {2}drives +C: disk 11223344 at 1048576\n +D: partition 33221100-/m);
    expect(output).toMatch(/^ {2}packages +windows: 2\n +windows: 1$/m);
    expect(output).toMatch(/^7-Zip 23\.01 +23\.01 +x86 +windows$/m);
    expect(output).not.toMatch(/kernels|users|log-ins/);
  });

  test("is told what hivex has put there", async () => {
    const path = join(folder, "by-hivex");
    writeFileSync(path, buildHive(key("ROOT", {})));
    const text = (value: string): string => Buffer.from(`${value}\0`, "utf16le").toString("hex");
    const version = "Microsoft\\Windows NT\\CurrentVersion";
    addByHivex(path, {
      [version]: [
        ["ProductName", 1, text("Windows Server 2008 R2 Standard")],
        ["CurrentVersion", 1, text("6.1")],
        ["CurrentBuild", 1, text("7601")],
        ["CSDVersion", 1, text("Service Pack 1")],
        ["InstallDate", 11, "ffffffffffff0f00"],
      ],
    });
    const told = inspected(await guest("hivex", { "WINNT/system32/config/software": readFileSync(path) }));
    expect(told).toMatchObject({
      operatingSystem: {
        version: "6.1.7601",
        codename: "",
        description: "Windows Server 2008 R2 Standard Service Pack 1 (6.1.7601)",
      },
      hostName: null,
      windows: { edition: "", installed: "", drives: null },
      packageDatabases: [],
      notes: [],
    });
  });

  test("with a damaged registry is told what is left, and notes say the rest", async () => {
    const behind = buildHive(software());
    behind.writeUInt32LE(9, 4);
    // The value's own mark is 20 bytes before its name.
    behind.write("xx", behind.indexOf("Publisher", 0, "latin1") - 20, "latin1");
    const told = inspected(
      await guest("damaged", {
        "Windows/System32/config/SOFTWARE": behind,
        "Windows/System32/config/SYSTEM": "no hive",
      }),
    );
    expect(told).toMatchObject({ operatingSystem: { name: "Windows 11 Pro" }, hostName: null });
    expect(told.notes).toEqual([
      "/Windows/System32/config/SOFTWARE: Windows has later changes of it in its logs, which are not read",
      "SYSTEM: /Windows/System32/config/SYSTEM: it is no registry hive",
      expect.stringMatching(/^HKLM\\SOFTWARE\\Microsoft\\.*Uninstall: the hive is damaged at 0x[0-9a-f]+$/),
    ]);
  });

  test("is found on the NTFS volume that has it, of several, also when it is served", async () => {
    const disk = await windowsDisk();
    expect(inspected(disk)).toMatchObject({
      operatingSystem: { id: "windows", source: "/Windows/System32/config/SOFTWARE" },
      hostName: "PC-7",
      packageDatabases: [{ count: 2 }, { count: 1 }],
      notes: [],
    });
    const served = await serve(join(folder, "cloud"), { pc: disk });
    const place = ["--mount", served.mountPoint, "--state", `${served.mountPoint}-state`];
    const { code, output } = slashcloud("inspect", "--json", "--packages", "pc", ...place);
    expect(code).toBe(0);
    expect(JSON.parse(output)).toEqual([inspected(disk)]);
    expect(await served.stop()).toBe(0);
  });

  test("is none where another system tells of itself, or Windows has no registry", async () => {
    const linux = await guest("linux", {
      "etc/os-release": "ID=debian\nNAME=Debian\n",
      "Windows/System32/config/SOFTWARE": buildHive(software()),
    });
    expect(inspected(linux)).toMatchObject({ operatingSystem: { id: "debian" }, windows: null });
    const empty = await guest("empty", { "Windows/System32/drivers/x": "" });
    expect(inspected(empty)).toMatchObject({ operatingSystem: null, windows: null, notes: [] });
  });
});
