// Bundles the assets of the pages into src/feedzone/web/static. File names contain a digest of the content, so that
// browsers can cache them forever. Each file is also stored compressed. manifest.json maps each name to its file.
import { createHash } from "node:crypto";
import { mkdir, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = resolve(here, "../src/feedzone/web/static");
const sources = process.argv[2] ?? "";

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });

const { metafile } = await build({
  absWorkingDir: here,
  // The activity page has its own bundle, since no other page needs those scripts and styles.
  entryPoints: ["src/app.js", "src/app.css", "src/activity.js", "src/activity.css"],
  entryNames: "[name]-[hash]",
  outdir: out,
  bundle: true,
  minify: true,
  format: "iife",
  target: ["es2022"],
  legalComments: "linked",
  loader: { ".png": "dataurl" },
  metafile: true,
  logLevel: "warning",
});

const files = {};
for (const [path, output] of Object.entries(metafile.outputs)) {
  if (output.entryPoint) files[basename(output.entryPoint)] = relative(out, resolve(here, path));
}
const icon = await readFile(join(here, "src/icon.svg"));
files["icon.svg"] = `icon-${createHash("sha256").update(icon).digest("hex").slice(0, 8)}.svg`;
await writeFile(join(out, files["icon.svg"]), icon);

for (const name of await readdir(out)) {
  const content = await readFile(join(out, name));
  const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } };
  await writeFile(join(out, `${name}.br`), brotliCompressSync(content, quality));
  await writeFile(join(out, `${name}.gz`), gzipSync(content, { level: 9 }));
}
await writeFile(join(out, "manifest.json"), `${JSON.stringify({ sources, files }, null, 2)}\n`);
