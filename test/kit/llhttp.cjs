// @ts-nocheck Node's internal parser has no types.
/**
 * Node's HTTP parser (llhttp) as a second opinion: reads one base64 message a line from standard input and
 * answers each with one line of JSON, the requests it made of it and whether it refused the rest.
 */
// biome-ignore lint/style/useNodejsImportProtocol: this internal module has no other name
const { HTTPParser, methods } = require("_http_common");
const { createInterface } = require("node:readline");

const noop = () => 0;
for (const name of ["kOnMessageBegin", "kOnExecute", "kOnTimeout"])
  HTTPParser.prototype[HTTPParser[name]] = noop;

function read(bytes) {
  const requests = [];
  let fields = [];
  let flushedUrl = "";
  const parser = new HTTPParser();
  parser.initialize(HTTPParser.REQUEST, {}, 1024 * 1024);
  parser[HTTPParser.kOnHeaders] = (more, url) => {
    fields.push(...more);
    flushedUrl = url;
  };
  parser[HTTPParser.kOnHeadersComplete] = (_major, _minor, given, method, url) => {
    const all = [...fields, ...(given ?? [])];
    fields = [];
    requests.push({ method: methods[method], url: url ?? flushedUrl, fields: all, body: "", whole: false });
    return 0;
  };
  parser[HTTPParser.kOnBody] = (piece) => {
    requests.at(-1).body += piece.toString("latin1");
  };
  parser[HTTPParser.kOnMessageComplete] = () => {
    // What comes now are trailers, which nobody looks at.
    fields = [];
    requests.at(-1).whole = true;
  };
  const result = parser.execute(bytes, 0, bytes.length);
  const refused = result instanceof Error;
  parser.close?.();
  return { requests, refused, why: refused ? (result.code ?? result.reason ?? "error") : "" };
}

createInterface({ input: process.stdin }).on("line", (line) => {
  process.stdout.write(`${JSON.stringify(read(Buffer.from(line, "base64")))}\n`);
});
