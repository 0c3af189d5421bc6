/** The pages whose addresses clients print to people: what this is, and which command to type. */
import type { VNode } from 'preact'

import type { ImageRow } from '../content/images.ts'
import { libraryHashOf } from '../content/names.ts'
import type { RepositoryRow } from '../content/places.ts'
import { Layout } from './layout.tsx'

export interface Site {
  readonly name: string
  readonly url: string
}

export function HomePage({ site }: { site: Site }): VNode {
  return (
    <Layout site={site.name} title={`${site.name} container library`}>
      <p>
        This is the Singularity endpoint of {site.name}: push, search and pull container images with
        the ordinary <code>singularity</code> and <code>apptainer</code> commands.
      </p>
      <h2>First steps</h2>
      <ol>
        <li>
          <a href="/auth/tokens">Get an access token</a> and sign in with it.
        </li>
        <li>
          Push an image of yours, and pull it anywhere on site:
          <pre>
            <code>
              {`singularity push -U image.sif library://USER/COLLECTION/NAME:TAG\n`}
              {`singularity pull library://USER/COLLECTION/NAME:TAG`}
            </code>
          </pre>
        </li>
      </ol>
      <p class="soft">
        With Apptainer write <code>apptainer</code> instead of <code>singularity</code>. Service
        address: <code>{site.url}</code>
      </p>
    </Layout>
  )
}

export function TokenPage({ site }: { site: Site }): VNode {
  return (
    <Layout site={site.name} title="Access tokens">
      <p>
        An access token signs you in to this endpoint for a year. Make one on a login node, with
        your password of the {site.name} portal:
      </p>
      <pre>
        <code>
          {`get_singularity_token > token\n`}
          {`singularity remote login --tokenfile token`}
        </code>
      </pre>
      <p>
        Or run <code>singularity remote login</code> and paste the token when you are asked for it.
        A token is shown once. Keep it like a password.
      </p>
    </Layout>
  )
}

export interface ContainerPageProps {
  readonly site: Site
  readonly repository: RepositoryRow
  readonly images: readonly ImageRow[]
}

export function ContainerPage({ site, repository, images }: ContainerPageProps): VNode {
  const tag = images.flatMap((image) => image.tags)[0] ?? 'latest'
  return (
    <Layout site={site.name} title={repository.path}>
      {repository.description === '' ? null : <p>{repository.description}</p>}
      <pre>
        <code>{`singularity pull library://${repository.path}:${tag}`}</code>
      </pre>
      <table>
        <thead>
          <tr>
            <th>Tags</th>
            <th>Architecture</th>
            <th>Size</th>
            <th>Pushed</th>
            <th>Hash</th>
          </tr>
        </thead>
        <tbody>
          {images.map((image) => (
            <tr>
              <td>{image.tags.join(', ')}</td>
              <td>{image.arch}</td>
              <td>{`${(image.sizeBytes / 2 ** 20).toFixed(1)} MiB`}</td>
              <td>{image.uploadedAt.toISOString().slice(0, 10)}</td>
              <td>
                <code>{libraryHashOf(image.digest)}</code>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Layout>
  )
}

export interface ProblemPageProps {
  readonly site: Site
  readonly message: string
  /** What to do, where the message does not say it. */
  readonly hint: string | undefined
}

export function ProblemPage({ site, message, hint }: ProblemPageProps): VNode {
  return (
    <Layout site={site.name} title="That did not work">
      <p>{message}</p>
      {hint === undefined ? null : <p>{hint}</p>}
    </Layout>
  )
}
