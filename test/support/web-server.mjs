// Serves the files of a folder by HTTP, ranges of them too. Usage: web-server.mjs FOLDER [PORT]; prints the port.
import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { join, normalize } from "node:path";

const [folder, port = "0"] = process.argv.slice(2);

const server = createServer((request, response) => {
  const path = join(folder, normalize(new URL(request.url, "http://x").pathname));
  const size = statSync(path, { throwIfNoEntry: false })?.size;
  if (size === undefined) {
    response.writeHead(404).end();
    return;
  }
  const [, from, to] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? "") ?? [];
  const start = Number(from ?? 0);
  const end = Math.min(size, Number(to ?? size - 1) + 1);
  const head = { "Accept-Ranges": "bytes", "Content-Length": end - start };
  if (from !== undefined) head["Content-Range"] = `bytes ${start}-${end - 1}/${size}`;
  response.writeHead(from === undefined ? 200 : 206, head);
  if (request.method === "HEAD" || end === start) response.end();
  else createReadStream(path, { start, end: end - 1 }).pipe(response);
});
server.listen(Number(port), "127.0.0.1", () => console.log(server.address().port));
