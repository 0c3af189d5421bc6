/**
 * `/builds`: what the builder is, and the queue as the reader may see it; `/builds/ID`: one build. Who
 * reads is known by the access token, as everywhere.
 */
import type { Router } from 'express'

import type { Actor } from '../accounts/actor.ts'
import type { Builds } from '../builds/builds.ts'
import type { BuildOutput } from '../builds/output.ts'
import type { QueueView } from '../builds/queue-view.ts'
import type { Config } from '../config.ts'
import { actorOf } from '../http/actor.ts'
import { newRouter } from '../http/router.ts'
import { BuildCommandsPage, BuildPage, BuildsPage } from './build-pages.tsx'
import { sendPage, sendProblem, siteOf } from './send-page.tsx'

export interface BuildPageParts {
  readonly config: Config
  readonly builds: Builds
  readonly output: BuildOutput
  readonly viewQueue: (actor: Actor) => Promise<QueueView>
}

/** Of the output, so much is on the page. */
const shownBytes = 64 << 10

export function buildPages({ config, builds, output, viewQueue }: BuildPageParts): Router {
  const router = newRouter()
  const site = siteOf(config)
  const settings = config.builder

  router.get('/builds', async (req, res) => {
    const actor = actorOf(req)
    // A site that shows nothing of its library to strangers shows no queue either.
    const isShown = settings.enabled && (actor.kind === 'account' || config.access.anonymousPull)
    const queue = isShown ? await viewQueue(actor) : undefined
    sendPage(res, <BuildsPage site={site} settings={settings} queue={queue} />)
  })

  router.get('/builds/:id', async (req, res) => {
    const actor = actorOf(req)
    const { id } = req.params
    if (actor.kind !== 'account') {
      return sendPage(res, <BuildCommandsPage site={site} id={isId(id) ? id : 'ID'} />)
    }
    try {
      const build = await builds.find(actor, id)
      const place = await builds.place(build, actor)
      const before = Math.max(0, build.outputBytes - shownBytes)
      const last = await output.read(build.id, before, build.outputBytes, shownBytes)
      return sendPage(
        res,
        <BuildPage
          site={site}
          build={build}
          place={place}
          output={last.toString('utf8')}
          before={before}
        />,
      )
    } catch (error) {
      return sendProblem(res, site, error)
    }
  })

  return router
}

/** For the page of an image that a build is to store, while it is not there. */
export function hintFor(container: string): string | undefined {
  const id = /^rb-([0-9a-f]{24})$/.exec(container)?.[1]
  if (id === undefined) return undefined
  return `The image of a build is here when the build has ended well, and for a while after that. To see how far it is: apptainer build --remote status ${id}`
}

function isId(text: string): boolean {
  return /^[0-9a-f]{24}$/.test(text)
}
