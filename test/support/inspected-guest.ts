/** Guests for `slashcloud inspect`, made of a folder's files, and of real package databases. */
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { run } from "./images-mount.js";

/** Files by their paths in a guest. */
export type Files = Readonly<Record<string, string | Buffer>>;

/** Makes a folder of files. */
export function makeFiles(folder: string, files: Files): void {
  for (const [path, content] of Object.entries(files)) {
    const file = join(folder, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
  }
}

/** An ext4 image of a folder. */
export async function imageOf(folder: string, image: string, size = "64M"): Promise<string> {
  await run("truncate", ["-s", size, image]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-d", folder, image]);
  return image;
}

const SPEC = (name: string, epoch: string): string => `Name: ${name}
Version: 1.2
Release: 3
${epoch}
Summary: A package
License: MIT
BuildArch: noarch
%description
A package.
%files
`;

/** Builds rpm packages without files; returns their paths. */
export async function buildRpms(folder: string, names: Readonly<Record<string, string>>): Promise<string[]> {
  mkdirSync(folder, { recursive: true });
  for (const [name, epoch] of Object.entries(names)) {
    const spec = join(folder, `${name}.spec`);
    writeFileSync(spec, SPEC(name, epoch));
    await run("rpmbuild", ["--quiet", "--define", `_topdir ${folder}`, "-bb", spec]);
  }
  const built = join(folder, "RPMS/noarch");
  return readdirSync(built).map((name) => join(built, name));
}

/** Puts packages into the rpm database of a guest's folder. */
export async function installRpms(root: string, packages: readonly string[]): Promise<void> {
  mkdirSync(root, { recursive: true });
  await run("rpm", [
    ...["--root", root, "--dbpath", "/var/lib/rpm", "--define", "_db_backend sqlite"],
    ...["-i", "--justdb", "--nodeps", "--nosignature", ...packages],
  ]);
}
