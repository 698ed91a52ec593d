/** What the program itself makes of its commands: pages of the manual, and what completes them in shells. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { extname, join } from "node:path";

/** A file, below the prefix. */
export interface GeneratedFile {
  readonly path: string;
  readonly content: Buffer;
}

/** Where each shell looks below a prefix; Debian's zsh has a folder of its own for packages. */
function completionPath(shell: string, prefix: string): string {
  if (shell === "bash") return "share/bash-completion/completions/slashcloud";
  if (shell === "fish") return "share/fish/vendor_completions.d/slashcloud.fish";
  return `share/zsh/${prefix === "/usr" ? "vendor-completions" : "site-functions"}/_slashcloud`;
}

/** `program`: its folder. What it has no command for is left out. */
export function generatedFiles(program: string, prefix: string): GeneratedFile[] {
  const main = join(program, "dist/main.js");
  const folder = mkdtempSync(join(tmpdir(), "slashcloud-manual-"));
  try {
    spawnSync(process.execPath, [main, "manual", "--write", folder], { stdio: "ignore" });
    const pages = readdirSync(folder)
      .sort()
      .map((name) => ({
        path: join("share/man", `man${extname(name).slice(1)}`, name),
        content: readFileSync(join(folder, name)),
      }));
    const completions = ["bash", "fish", "zsh"].flatMap((shell) => {
      const { status, stdout } = spawnSync(process.execPath, [main, "completion", shell]);
      return status === 0 ? { path: completionPath(shell, prefix), content: stdout } : [];
    });
    return [...pages, ...completions];
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
