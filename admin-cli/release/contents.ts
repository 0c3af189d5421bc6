/** Which files of the tree are a release, gathered in a directory with modes that are nobody's umask. */
import { execFile } from 'node:child_process'
import { chmod, cp, lstat, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { basename, dirname, join, relative, sep } from 'node:path'
import { promisify } from 'node:util'

import { packageRoot } from '../../server/package-root.ts'
import { writeDocuments } from '../documents/write.ts'
import { CommandError } from '../exit.ts'

const run = promisify(execFile)

/** Taken as they are, where the tree has them. */
const wholeTrees = ['systemd', 'nginx', 'LICENSE', 'README.md', 'CHANGELOG.md']

/** Code runs from dist/; beside it stands what the code reads: statements, scripts, styles, commands. */
const builtTrees = ['server', 'admin-cli']

/** What makes releases and the login nodes' commands wants packages that no release has. */
const makers = [join('admin-cli', 'release'), join('admin-cli', 'login-node', 'package')]

/**
 * Fills an empty place with a release of this name and answers its files and links, sorted, each
 * with the last part of the place before it.
 */
export async function stageRelease(target: string, version: string): Promise<readonly string[]> {
  await mkdir(target)
  for (const tree of builtTrees) {
    await take(join('dist', tree), target, (path) => /\.js(?:\.map)?$/.test(path))
    await take(tree, target, (path) => !/\.tsx?$/.test(path))
  }
  for (const tree of wholeTrees) await take(tree, target, () => true)
  for (const directory of await productionPackages()) {
    // A package's own packages are in the list themselves.
    const nested = join(directory, 'node_modules')
    await take(directory, target, (path) => path !== nested && !path.startsWith(nested + sep))
  }
  await writeDocuments(join(target, 'share'), version)
  const manifest = JSON.parse(await readFile(join(packageRoot, 'package.json'), 'utf8')) as object
  const text = `${JSON.stringify({ ...manifest, version }, null, 2)}\n`
  await writeFile(join(target, 'package.json'), text)
  return await settle(target)
}

/** Copies the files of a tree for which `wanted` says so of their path below the package's root. */
async function take(
  tree: string,
  target: string,
  wanted: (path: string) => boolean,
): Promise<void> {
  const from = join(packageRoot, tree)
  const found = await lstat(from).catch(() => undefined)
  if (found === undefined) {
    if (wholeTrees.includes(tree)) return
    throw new CommandError(`There is no ${tree}: run npm ci and npm run build first.`)
  }
  await cp(from, join(target, tree), {
    recursive: true,
    verbatimSymlinks: true,
    filter: async (source) => {
      const path = relative(packageRoot, source)
      if (makers.some((one) => path === one || path === join('dist', one))) return false
      const isDirectory = (await lstat(source)).isDirectory()
      return isDirectory || wanted(path)
    },
  })
}

/** The directories of what package.json needs in production, as npm sees them: no network. */
async function productionPackages(): Promise<readonly string[]> {
  const args = ['ls', '--omit=dev', '--all', '--parseable']
  const { stdout } = await run('npm', args, { cwd: packageRoot }).catch((error: Error) => {
    throw new CommandError(`node_modules is not what package-lock.json says: ${error.message}`)
  })
  const paths = stdout.split('\n').filter((path) => path.includes(`${sep}node_modules${sep}`))
  return paths.map((path) => relative(packageRoot, path)).sort()
}

/** Gives everything the mode that it has on every host, and lists what is no directory. */
async function settle(target: string): Promise<readonly string[]> {
  const parent = dirname(target)
  const entries = await readdir(target, { recursive: true, withFileTypes: true })
  const files: string[] = []
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isDirectory()) await chmod(path, 0o755)
    if (entry.isFile()) {
      const { mode } = await lstat(path)
      await chmod(path, (mode & 0o111) === 0 ? 0o644 : 0o755)
    }
    if (!entry.isDirectory()) files.push(relative(parent, path))
  }
  await chmod(target, 0o755)
  if (files.length === 0) throw new CommandError(`${basename(target)} would be empty.`)
  return files.sort()
}
