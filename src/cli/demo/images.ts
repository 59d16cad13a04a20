/**
 * The demo site's pictures, drawn by a few lines of code so that no binary file lies in the repository:
 * a sunrise over hills, as PNG and WebP from the same pixels and, in outline, as SVG.
 */
import { crc32, deflateSync } from "node:zlib";

const WIDTH = 480;
const HEIGHT = 270;

type Colour = readonly [red: number, green: number, blue: number];

const SKY_TOP: Colour = [38, 52, 107];
const SKY_LOW: Colour = [250, 178, 120];
const SUN: Colour = [255, 236, 190];
const HILLS: readonly {
  readonly height: number;
  readonly wave: number;
  readonly shift: number;
  readonly colour: Colour;
}[] = [
  { height: 0.62, wave: 0.05, shift: 0.4, colour: [132, 96, 132] },
  { height: 0.72, wave: 0.06, shift: 2.1, colour: [84, 66, 112] },
  { height: 0.84, wave: 0.05, shift: 4.4, colour: [44, 40, 78] },
];

/** The picture as SVG. */
export function sunriseSvg(): string {
  const hills = HILLS.map(({ colour, ...hill }) => {
    const points: string[] = [];
    for (let x = 0; x <= WIDTH; x += 16) points.push(`${x},${Math.round(hillTop(hill, x))}`);
    return `<polygon fill="${css(colour)}" points="0,${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}"/>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="A sunrise over hills">
<defs><linearGradient id="sky" x1="0" y1="0" x2="0" y2="1"><stop stop-color="${css(SKY_TOP)}"/><stop offset=".7" stop-color="${css(SKY_LOW)}"/></linearGradient></defs>
<rect width="${WIDTH}" height="${HEIGHT}" fill="url(#sky)"/>
<circle cx="${WIDTH * 0.68}" cy="${HEIGHT * 0.52}" r="${HEIGHT * 0.13}" fill="${css(SUN)}"/>
${hills.join("\n")}
</svg>
`;
}

/** The picture as PNG (RFC 2083): three bytes a pixel, each row after its filter byte. */
export function sunrisePng(): Uint8Array {
  const rows = new Uint8Array(HEIGHT * (1 + WIDTH * 3));
  let at = 0;
  for (let y = 0; y < HEIGHT; y++) {
    rows[at++] = 0;
    for (let x = 0; x < WIDTH; x++) {
      for (const part of pixel(x, y)) rows[at++] = Math.round(part);
    }
  }
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, WIDTH);
  view.setUint32(4, HEIGHT);
  header.set([8, 2, 0, 0, 0], 8);
  return Buffer.concat([
    Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a),
    chunk("IHDR", header),
    chunk("IDAT", deflateSync(rows, { level: 9 })),
    chunk("IEND", new Uint8Array(0)),
  ]);
}

/** The picture as WebP, encoded from the PNG. */
export async function sunriseWebp(png: Uint8Array): Promise<Uint8Array> {
  return await new Bun.Image(png).webp({ quality: 80 }).bytes();
}

function pixel(x: number, y: number): Colour {
  for (const hill of HILLS.toReversed()) if (y >= hillTop(hill, x)) return hill.colour;
  const distance = Math.hypot(x - WIDTH * 0.68, y - HEIGHT * 0.52);
  const radius = HEIGHT * 0.13;
  if (distance < radius) return SUN;
  const sky = mix(SKY_TOP, SKY_LOW, Math.min(1, y / (HEIGHT * 0.7)));
  // The glow ends with the sun's edge, two radii away.
  return mix(SUN, sky, Math.min(1, 0.55 + (distance - radius) / (radius * 4)));
}

function hillTop(hill: { height: number; wave: number; shift: number }, x: number): number {
  const turn = (x / WIDTH) * Math.PI * 2;
  return (
    HEIGHT *
    (hill.height + hill.wave * (Math.sin(turn + hill.shift) + 0.4 * Math.sin(2.7 * turn + hill.shift)))
  );
}

function mix(from: Colour, to: Colour, share: number): Colour {
  return [
    from[0] + (to[0] - from[0]) * share,
    from[1] + (to[1] - from[1]) * share,
    from[2] + (to[2] - from[2]) * share,
  ];
}

function css(colour: Colour): string {
  return `rgb(${colour.join(" ")})`;
}

function chunk(type: string, data: Uint8Array): Uint8Array {
  const out = Buffer.alloc(12 + data.byteLength);
  out.writeUInt32BE(data.byteLength, 0);
  out.write(type, 4, "latin1");
  out.set(data, 8);
  out.writeUInt32BE(crc32(out.subarray(4, 8 + data.byteLength)), 8 + data.byteLength);
  return out;
}
