/** An origin as a process of its own, to be killed or halted: says its name, and what it was asked for. */
const [port = "0", name = "origin"] = process.argv.slice(2);

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(port),
  fetch(request) {
    const { pathname } = new URL(request.url);
    const cacheControl = pathname.startsWith("/stored/") ? "max-age=600" : "no-store";
    return new Response(`${name} ${request.method} ${pathname}`, {
      headers: { "cache-control": cacheControl, "content-type": "text/plain", "x-origin": name },
    });
  },
});
process.stdout.write(`${server.port}\n`);
