/** Results as a picture: for each cell, each peer's rate by that of nginx (1 is nginx). */
import { type Results, rateRatio } from "./results.ts";

const REFERENCE = "nginx";
const COLOURS = ["#0b6e4f", "#57a773", "#b0b0b0", "#4c78a8", "#f58518", "#b279a2", "#dddddd", "#e45756"];
const ROW = 12;
const GAP = 14;
const LEFT = 230;
const RIGHT = 60;
const WIDTH = 900;
/** Longer bars are cut: a ceiling would flatten all others. */
const RATIO_MAX = 4;

/** An SVG document. */
export function chart(results: Results): string {
  const scale = (WIDTH - LEFT - RIGHT) / RATIO_MAX;
  const bars: string[] = [];
  let y = 50;
  for (const cell of results.cells) {
    const rows = results.peers
      .map((peer, at) => ({ peer, at, ratio: rateRatio(results, cell.id, peer, REFERENCE) }))
      .filter((row): row is typeof row & { ratio: number } => row.ratio !== null);
    if (rows.length === 0) continue;
    bars.push(text(LEFT - 8, y + (rows.length * ROW) / 2 + 4, cell.title, "end"));
    for (const { at, ratio } of rows) {
      const width = Math.min(ratio, RATIO_MAX) * scale;
      bars.push(
        `<rect x="${LEFT}" y="${y}" width="${width.toFixed(1)}" height="${ROW - 2}" fill="${colour(at)}"/>`,
      );
      bars.push(text(LEFT + width + 4, y + ROW - 3, ratio.toFixed(2), "start"));
      y += ROW;
    }
    y += GAP;
  }
  const legend = results.peers.map((peer, at) => {
    const x = 10 + (at % 4) * 220;
    const top = 8 + Math.floor(at / 4) * 16;
    return `<rect x="${x}" y="${top}" width="10" height="10" fill="${colour(at)}"/>${text(x + 14, top + 9, peer, "start")}`;
  });
  const line = LEFT + scale;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y}" font-family="sans-serif" font-size="10"><title>Rates of hits beside other servers</title>`,
    `<rect width="100%" height="100%" fill="white"/>`,
    ...legend,
    `<line x1="${line}" y1="44" x2="${line}" y2="${y - GAP}" stroke="#888" stroke-dasharray="3"/>`,
    ...bars,
    "</svg>",
    "",
  ].join("\n");
}

function colour(at: number): string {
  return COLOURS[at % COLOURS.length] ?? "#000";
}

function text(x: number, y: number, content: string, anchor: "start" | "end"): string {
  const escaped = content.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}">${escaped}</text>`;
}
