/** What the control socket answers: the answer to GET /, and what is refused. docs/control.md says more of each. */

/** Methods and paths, and what they do. */
export const CONTROL_INDEX: Readonly<Record<string, string>> = {
  "GET /": "this list",
  "GET /v1/status": "how the daemon is, its guests, volumes and processes, as JSON",
  "GET /v1/metrics": "the same as numbers, in Prometheus' text format",
  "GET /v1/events":
    "events, as JSON, an object a line; ?pattern=HOST:GUEST:PATH&since=TIME&after=IDS&follow=1",
  "POST /v1/attach":
    'shows the disks of a running QEMU: {"guest": NAME, "socket": PATH, "disks": [NODE], "capture": HOW}',
  "POST /v1/detach": 'shows an attached guest no longer: {"guest": NAME}',
  "POST /v1/add": 'shows a guest until it is removed: {"guest": NAME, "images": [IMAGE]}',
  "POST /v1/remove": 'shows an added guest no longer: {"guest": NAME}',
  "POST /v1/reload": "reads the configuration again: {}",
  "POST /v1/renew": "another daemon, by the program that is on disk now, takes this one's place: {}",
};

/** Paths alone, for a line. */
export function knownPaths(): string {
  const paths = Object.keys(CONTROL_INDEX).map((route) => route.slice(route.indexOf(" ") + 1));
  return `${paths.slice(0, -1).join(", ")} and ${paths.at(-1)}`;
}
