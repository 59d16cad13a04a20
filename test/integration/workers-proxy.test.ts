/** The PROXY protocol in front of several workers: whichever of them takes the connection knows the viewer. */
import { expect, test } from "bun:test";
import { connect as connectTls } from "node:tls";
import { text } from "../kit/origin.ts";
import { RawViewer } from "../kit/raw-viewer.ts";
import { stage } from "../kit/stage.ts";

const { app, programs } = stage();

async function edgeOf(origin: string, trusted: string, workers = 3) {
  const all = programs();
  const file = await all.write(
    "proxima.json",
    JSON.stringify({
      listen: { http: "127.0.0.1:0", https: "127.0.0.1:0", control: "127.0.0.1:0", proxyProtocol: true },
      trustedProxies: [trusted],
      dataDir: "data",
      workers,
      sites: { any: { hosts: ["*"], origins: { app: { url: origin } } } },
    }),
  );
  const program = all.start(["edge", "--config", file]);
  return { program, ...(await program.addresses()) };
}

/** A header of the PROXY protocol that names a viewer: version 1 for even numbers, 2 for odd ones. */
function headerOf(number: number): { readonly address: string; readonly bytes: Uint8Array } {
  const octets = [203, 0, 113, number];
  const address = octets.join(".");
  if (number % 2 === 0)
    return { address, bytes: Buffer.from(`PROXY TCP4 ${address} 192.0.2.1 ${4_000 + number} 80\r\n`) };
  const signature = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
  return {
    address,
    bytes: Buffer.from([...signature, 0x21, 0x11, 0, 12, ...octets, 192, 0, 2, 1, 16, 0, 0, 80]),
  };
}

const echo = (request: Request) =>
  text(`for ${request.headers.get("x-forwarded-for")}`, {
    "cache-control": new URL(request.url).pathname.startsWith("/stored") ? "max-age=600" : "no-store",
  });

test("each viewer is who the header says, on every worker and by way of the owner of a key", async () => {
  const edge = await edgeOf(app(echo).url, "127.0.0.1");
  const answers = await Promise.all(
    Array.from({ length: 48 }, async (_, number) => {
      const { address, bytes } = headerOf(number);
      const viewer = new RawViewer({ port: edge.httpPort });
      // In two pieces, as a slow network would bring it.
      viewer.socket.write(bytes.subarray(0, 5));
      await new Promise((resolve) => setImmediate(resolve));
      viewer.socket.write(bytes.subarray(5));
      viewer.send(number % 3 === 0 ? `/passed/${number}` : `/stored/${number}`);
      const { status, body } = await viewer.answer();
      return { address, status, body: body.toString() };
    }),
  );
  for (const { address, status, body } of answers) expect([status, body]).toEqual([200, `for ${address}`]);
}, 20_000);

test("also under TLS", async () => {
  const edge = await edgeOf(app(echo).url, "127.0.0.1");
  const port = edge.httpsPort;
  const answers = await Promise.all(
    Array.from({ length: 12 }, async (_, number) => {
      const { address, bytes } = headerOf(number);
      const plain = new RawViewer({ port }).socket;
      plain.removeAllListeners("data");
      plain.write(bytes);
      const secure = connectTls({ socket: plain, servername: "localhost", rejectUnauthorized: false });
      secure.write("GET /passed HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
      let received = "";
      for await (const piece of secure) received += String(piece);
      return { address, received };
    }),
  );
  for (const { address, received } of answers) expect(received).toEndWith(`for ${address}`);
}, 20_000);

test("who is not trusted, and who sends no header, gets no answer from any of them", async () => {
  const origin = app(echo);
  const strange = await edgeOf(origin.url, "192.0.2.99", 2);
  const trusting = await edgeOf(origin.url, "127.0.0.1", 2);
  const answers = await Promise.all([
    ...Array.from({ length: 8 }, async (_, number) => {
      const viewer = new RawViewer({ port: strange.httpPort });
      viewer.socket.write(headerOf(number).bytes);
      viewer.send("/");
      return await viewer.answer();
    }),
    ...Array.from({ length: 8 }, () => RawViewer.ask("/", { port: trusting.httpPort }).answer()),
  ]);
  expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 0));
  expect(origin.count()).toBe(0);
}, 20_000);
