/**
 * The origin as a process of its own: answers what workload.ts says, counts, and tells its count under
 * /_count. `bun origin-program.ts PORT`.
 */
import { bodyOf, etagOf, wanted } from "./workload.ts";

const LAST_MODIFIED = "Tue, 06 Jan 2026 08:00:00 GMT";
/** Every body is the beginning of this one. */
const LARGEST = bodyOf(16 * 1024 * 1024);
let requests = 0;

Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  idleTimeout: 120,
  development: false,
  fetch(request) {
    const path = request.url.slice(request.url.indexOf("/", 8));
    if (path === "/_count") return Response.json({ requests });
    requests++;
    const answer = wanted(path);
    if (answer === null) return new Response("no such path", { status: 404 });
    const etag = etagOf(answer.bytes);
    const headers: Record<string, string> = {
      "content-type": "application/octet-stream",
      "cache-control": answer.cacheControl,
      etag,
      // nginx cuts ranges out of what it stored only where the origin says this.
      "accept-ranges": "bytes",
      "last-modified": LAST_MODIFIED,
    };
    if (answer.tag !== null) headers["surrogate-key"] = answer.tag;
    const isSame = request.headers.get("if-none-match") === etag;
    const made = (): Response =>
      isSame
        ? new Response(null, { status: 304, headers })
        : new Response(LARGEST.subarray(0, answer.bytes), { headers });
    return answer.delayMs === 0 ? made() : Bun.sleep(answer.delayMs).then(made);
  },
});
