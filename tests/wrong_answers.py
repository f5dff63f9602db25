"""Wrong answers to the exercises: (what the solution says, what is said instead)."""

WRONG = {
    "crop-by-hand": [
        ("location[0] + scale[0]", "location[1] + scale[1]"),  # x and y exchanged
        ("scale[1] * i", "scale[0] * i"),  # one scale for both axes
        ("* W - 1) / 2", "* W) / 2"),  # half a pixel off
        ("(1 - (u", "(2 - (u"),  # weights that reach too far
        ("across.T", "across.T + 0.01"),
    ],
    "to-location": [
        ("torch.tanh(z) * (1 - s)", "z.clamp(-1 + s, 1 - s)"),
        ("(1 - s)", "(1 - s / 2)"),
        ("torch.tanh(z)", "-torch.tanh(z)"),
    ],
    "to-z": [("location / (1 - s)", "location"), ("torch.atanh", "torch.tanh")],
    "hit-probability": [
        ("1 - (1 - one) ** T", "T * one"),
        ("(side - window)", "side"),
        ("digit / 2", "digit / 4"),
    ],
    "hit-estimate": [
        ("/ n)", "/ 1)"),
        (".all(dim=2)", ".any(dim=2)"),
        ("generator=generator", "generator=None"),
        ("math.sqrt(share * (1 - share) / n)", "0.05"),
    ],
    "kl": [
        ("((mu_q - mu_p) / sigma_p)", "((mu_q - mu_p) / sigma_q)"),
        ("- ratio.log()", "+ ratio.log()"),
        (".sum(dim=-1)", ".mean(dim=-1)"),
        ("(sigma_q / sigma_p) ** 2", "(sigma_q / sigma_p)"),
    ],
    "kl-by-sampling": [
        ("mu_q + sigma_q * noise", "mu_p + sigma_p * noise"),
        ("terms.std() / math.sqrt(n)", "terms.std()"),
        ("- sigma_q.log()", ""),
    ],
    "pair-label": [
        ("low, high = min(a, b), max(a, b)", "low, high = a, b"),
        ("high - low", "high"),
    ],
    "label-pair": [("a + label", "label"), ("return a, a + label", "return 3, 7")],
    "chance-levels": [
        ("(min(a, b), max(a, b)) for", "(a, b) for"),
        ("max(sums.values()) / n**2", "0.1"),
        ("for b in range(n)", "for b in range(a, n)"),
    ],
    "lower-bound": [
        ("log_right + log_p - log_q", "log_right + log_p"),  # no entropy
        ("log_right + log_p - log_q", "log_right - log_p + log_q"),  # KL's sign
        ("log_right + log_p - log_q", "log_right"),
        ("torch.where(log_q > -math.inf, terms, 0.0)", "terms"),
    ],
    "best-q": [
        (".mean(dim=0)", ".sum(dim=0)"),
        ("log_p + log_rights", "log_rights"),
        (" - scores.logsumexp(dim=0)", ""),
    ],
    "importance-bound": [
        (" - math.log(len(log_w))", ""),
        ("log_w.logsumexp(dim=0)", "log_w.exp().sum(dim=0).log()"),
        ("log_w.logsumexp(dim=0) - math.log(len(log_w))", "log_w.mean(dim=0)"),
    ],
    "leave-one-out": [
        ("(values.sum() - values) / (len(values) - 1)", "values.mean()"),
        ("(values - others)", "values"),
        (" / sigma", ""),
        (".mean(dim=0)", ".sum(dim=0)"),
    ],
    "place-slopes": [
        ("* W / 2", "* W"),
        ("-d_v.sign()", "d_v.sign()"),
        ("samples(location[1], scale[1]", "samples(location[1], scale[0]"),
        ("(d_u.abs() < 1)", "(d_u.abs() < 2)"),
        ("torch.stack((by_x, by_y))", "torch.stack((by_y, by_x))"),
    ],
    "scale-slopes": [
        ("by_x * i,", "by_x * i[:, None],"),
        ("by_y * i[:, None]", "by_y"),
        ("+ 1) / L - 1", "+ 1) / L"),
    ],
    "needed-columns": [
        ("- w) + 1", "- w)"),
        ("+ w) - 1", "+ 1) - 1"),
        ("min(last, W - 1)", "last"),
        ("max(first, 0)", "first"),
        ("last - first + 1", "last - first"),
    ],
    "tiles-touched": [
        ("(left + width - 1) // t", "(left + width) // t"),
        ("range(left // t", "range(0"),
        ("(top + height - 1) // t + 1", "(top + height - 1) // t"),
        ("(column, row) for", "(row, column) for"),
    ],
    "mean-tiles": [
        ("(w - 1) / t", "w / t"),
        (") ** 2", ")"),
        ("tiles * t * t", "tiles * w * w"),
    ],
    "level-for": [
        ("min(scale", "max(scale"),
        ("scale[0] * shape[1], scale[1] * shape[0]", "scale[0] * shape[0], scale[1]"),
        (">= L", "> L"),
        ("max(enough, default=0)", "min(enough, default=0)"),
    ],
    "saving": [
        ("(full / chosen) ** 2", "full / chosen"),
        ("* (1 - 1 / L) + 2", ""),
        ("for f in (1, factor)", "for f in (factor, 1)"),
    ],
    "cover": [
        ("[*begins, side - crop]", "begins"),
        ("crop - overlap", "crop"),
        ("begins if reached else", ""),
        (
            "for top in line(height) for left in line(width)",
            "for left in line(width) for top in line(height)",
        ),
    ],
    "naive-batch": [
        ("4 * channels", "channels"),
        ("(image + crops * per_crop)", "(crops * per_crop)"),
        ("//", "/"),
    ],
    "segment-size": [
        ("memory - batch * 4", "memory - 4"),
        ("(batch * per_crop)", "per_crop"),
        ("min(crops, fitting)", "fitting"),
        ("max(0, min(crops, fitting))", "min(crops, fitting)"),
    ],
    "speed-ups": [
        ("* gpus", ""),
        ("baseline - images", "baseline"),
        ("/ small", "/ large"),
    ],
    "unpaired": [
        ("abs(first / len(a) - (total - first) / len(b))", "abs(first)"),
        (">= seen - 1e-9", "> seen + 1e-9"),
        ("abs(first / len(a)", "(first / len(a)"),
        ("/ len(b))", "/ len(a))"),
    ],
    "paired": [
        ("product((1, -1)", "product((1, 0)"),
        (">= seen", "> seen + 1e-3"),
        ("abs(sum(s * x", "(sum(s * x"),
    ],
    "smallest-p": [
        ("2 / math.comb(2 * n, n)", "1 / math.comb(2 * n, n)"),
        ("2 / 2**n", "1 / 2**n"),
        ("math.comb(2 * n, n)", "math.factorial(2 * n)"),
    ],
    "variance-for": [
        ("* 2 / side", "/ side"),
        ("/ (1 - scale)", ""),
        (") ** 2", ")"),
    ],
    "spread-in-pixels": [
        ("variance**0.5", "variance"),
        ("torch.tanh(z)", "z"),
        ("* side / 2", "* side"),
    ],
    "product-weights": [
        ("C / (R + k * K)", "C / R"),
        ("share, k * share", "share, share"),
        ("C / (R + k * K)", "(R + k * K) / C"),
    ],
    "longer-by": [("R + k * K", "R + K"), ("R + k * K", "1 / (R + k * K)")],
    "best-of": [
        ("(n - 1)", "n"),
        ("x * n * phi", "x * phi"),
        ("(-(x**2) / 2)", "(-(x**2))"),
    ],
    "images-needed": [
        ("p * (1 - p)", "p"),
        ("error**2", "error"),
        ("/ best_of(n)", "* best_of(n)"),
    ],
    "equalised": [
        ("(dim=(1, 2), keepdim=True)", "()"),
        ("contrast / deviation", "contrast"),
        ("values.std(unbiased=False)", "values.std(dim=(1, 2), keepdim=True)"),
        ("if deviation > 0:", "if True:"),
    ],
    "part-of": [
        ('"big"', '"little"'),
        ("digest[:8]", "digest[:4]"),
        ("place -= count", "pass"),
    ],
    "laid": [
        ("canvas.clone()", "canvas"),
        ("max(left, 0)", "left"),
        ("slice(x0 - left, x1 - left)", "slice(0, x1 - x0)"),
        ("(over - under)", "over"),
    ],
    "two-accuracies": [
        ("right.sum() / n.sum()", "(right / n).mean()"),  # both balanced
        ("(right / n).mean()", "right.sum() / n.sum()"),  # both raw
        ("confusion.sum(dim=1)", "confusion.sum(dim=0)"),  # by answers
    ],
    "two-errors": [
        ("p * (1 - p) / M", "p * (1 - p)"),
        ("(r * (1 - r) / n).sum().sqrt() / C", "(p * (1 - p) / n.sum()).sqrt()"),
        (".sum().sqrt() / C", ".mean().sqrt() / C"),
    ],
    "seen-how-often": [
        (".all(dim=2)", ".any(dim=2)"),
        ("times > 1", "times > 0"),
        ("<= s", "<= s / 2"),
    ],
    "covered": [
        (".any(dim=0)", ".sum(dim=0)"),  # an overlap counts twice
        ("[:, :, None] & x[:, None, :]", "[:, :, None] | x[:, None, :]"),
        ("<= s  # (T, L)", "<= 2 * s  # (T, L)"),
    ],
    "best-guess": [
        ("repeat=kinds", "repeat=2"),
        ("max(totals.get(n, 0), times)", "times"),
        ("** kinds", "** 2"),
    ],
    "set-weights": [
        ("/ whole", ""),
        ("a * b / (1 - a), b * a / (1 - b)", "b * a / (1 - b), a * b / (1 - a)"),
        ("(a * b / (1 - a), b * a / (1 - b))", "(a, b)"),
    ],
    "wake-weights": [
        (" - 1 / len(log_w)", ""),
        ("log_w.softmax(dim=0)", "log_w.exp() / log_w.exp().sum(dim=0)"),
        ("log_w.softmax(dim=0)", "log_w.softmax(dim=1)"),
    ],
    "effective-looks": [
        ("1 / log_w", "log_w"),
        (".square()", ""),
        ("log_w.softmax(dim=0)", "log_w.exp()"),
    ],
    "episode-loss": [
        ("log_prob[:, :-1]", "log_prob[:, 1:]"),  # the look that nobody used
        ("to_go - baseline", "reward.sum(dim=1, keepdim=True) - baseline"),
        (".detach()", ""),
        (".sum(dim=1).mean()", ".mean()"),
        ("return -(", "return ("),
    ],
    "square-mean": [
        ("/ side**2", ""),
        ("min(max(u, 0), W)", "u"),  # negative corners count from the end
        ("+ S[v0, u0]", "- S[v0, u0]"),
        ("S[v1, u1]", "S[u1, v1]"),
    ],
    "credit": [
        (".cumprod(dim=1)", ""),  # goes on after an error
        ("[:, 1:]", "[:, :-1]"),  # shifted by a glimpse
        ("to_go.repeat_interleave", "earned.repeat_interleave"),
    ],
    "pair-classes": [
        (" if a != b else 0", ""),  # two threes twice
        ("left[:, a] * right[:, b] + other", "left[:, a] * right[:, b]"),
    ],
    "weigh": [
        ("log_likelihood - log_proposal", "log_likelihood"),  # from the policy
        ("- math.log(len(log_w))", ""),  # a sum, not a mean
        ("torch.logsumexp(log_w, dim=0)", "log_w.exp().sum().log()"),  # overflows
        ("1 / v.square().sum()", "1 / v.max()"),
    ],
    "log-mixture": [
        ("log_q + math.log(1 - s), log_p", "log_p + math.log(1 - s), log_q"),
        ("torch.logaddexp(log_q + math.log(1 - s), log_p + math.log(s))", "log_q"),
        ("each.sum(dim=1)", "each.mean(dim=1)"),
        ("if s == 0:", "if s < 1:"),
    ],
    "centred": [
        ("ratio / len(log_w)", "1 / len(log_w)"),  # biased under r
        ("(log_q - log_r)", "(log_r - log_q)"),
        ("ratio / len(log_w)", "ratio"),
    ],
    "sleep-gradient": [
        ("of_y * eta", "eta"),  # every label equally likely
        ("eta.softmax(dim=1) - joint", "eta.softmax(dim=1) + joint"),
        ("prior * likelihood", "likelihood"),
    ],
    "hit-rate": [
        ("k / cells", "1 - (1 - 1 / cells) ** k"),  # with replacement
        ("k / cells", "1 / cells"),
    ],
    "observer": [
        ("1 / (1 + left)", "1 / (1 + decoys)"),  # decoys that were read count on
        ("1.0 if 0 in drawn else", ""),
        ("total / ways", "total"),
    ],
    "margin": [
        ("int(side * factor / 2)", "int(side * factor)"),
        ("int(side * factor / 2)", "round(side * factor / 2)"),
        ("max(0, start - more)", "start - more"),
        ("line(y, h, H)", "line(y, h, W)"),
    ],
    "names": [("2 * (level - 1)", "level - 1"), ("level - 1", "level")],
    "squares": [
        ("len(begins) ** 2", "len(begins)"),
        ("{u + i", "{i"),
        ("width //= 2", "width //= 1"),
    ],
    "log-order": [
        ("left[place] = -math.inf", "pass"),  # with replacement
        ("left[place] - left.logsumexp(dim=0)", "left.log_softmax(dim=0)[places[0]]"),
        ("scores.clone()", "scores"),  # spoils what it was given
        ("left[place] - left", "scores[place] - scores"),
    ],
    "most-mass": [
        ("K / (m * (K - m))", "K / (K - m)"),
        ("/ tau", "* tau"),
        ("return m / (m", "return 1 / (m"),
        ("math.exp(-apart)", "math.exp(apart)"),  # the least
    ],
    "temperature-for": [
        ("math.sqrt(K / (K - 1))", "1"),
        ("p * (K - 1) / (1 - p)", "p * K / (1 - p)"),
        ("/ math.log", "* math.log"),
    ],
    "place-weights": [
        (" / R_each.shape[1]", ""),
        ("(R[:, None] - b)", "R[:, None]"),
        ("(R_each - b)", "R_each"),
        ("R[:, None] - b", "R - b"),
        ("(1 - lambda_r)", "lambda_r"),
    ],
    "least-baseline": [
        ("(1 - lambda_r) / k", "(1 - lambda_r)"),
        ("return lambda_r / (", "return (1 - lambda_r) / ("),
    ],
    "cells-of-a-grid": [
        ("math.ceil((side - patch) / (n - 1))", "(side - patch) // (n - 1)"),
        ("-math.ceil(lacking / 2)", "-math.floor(lacking / 2)"),
        ("-math.ceil(lacking / 2)", "0"),
        ("(n - 1) * stride - side", "n * stride - side"),
    ],
    "different-squares": [
        ("x + below", "below"),
        ("len(line) ** 2", "n ** (2 * (levels - 1))"),  # as if all were different
        ("side, first", "_, first"),
        ("range(levels - 1)", "range(levels)"),
    ],
    "cost-of": [
        ("total += nodes * scoring", "total += scoring"),
        ("nodes *= k", "nodes = k"),
        ("node + once", "node"),
        ("nodes * node", "k * node"),
    ],
    "most-locations": [
        ("min(cells, left // node)", "left // node"),
        ("None if left < 0 else ", ""),
        ("left // node", "left // (node + scoring)"),
    ],
    "pixels-seen": [
        ("reversed(layers)", "layers"),
        ("last * stride - padding + kernel - 1", "last * stride + kernel - 1"),
        ("first, last + 1", "first, last"),
    ],
    "nearest-place": [
        ("/ 2 - middle", "- middle"),
        ("range(count)", "range(0, count, 2)"),
        ("off.index(min(off))", "count - 1 - off[::-1].index(min(off))"),
    ],
    "expect": [
        ("torch.xlogy(beliefs, beliefs)", "(beliefs * beliefs.log())"),  # nan at 0
        ("(each * weights).sum(dim=1)", "each.mean(dim=1)"),
        ("(each * weights).sum(dim=1)", "(each * weights).amin(dim=1)"),
        ("-torch.xlogy", "torch.xlogy"),
    ],
    "two-ahead": [
        ("min(after(left, second)", "sum(after(left, second)"),
        ("torch.xlogy(mass, p)", "torch.xlogy(p, p)"),  # all patches alike
        ("after(left, second)", "after(joint, second)"),  # forgets the first
        ("torch.xlogy(mass, p)", "torch.xlogy(mass, mass)"),
    ],
    "remainders": [
        ("rest / missing if missing else p", "p"),  # biased
        ("(N * p).floor()", "(N * p).round()"),
        ("rest / missing if missing", "rest if missing"),
    ],
    "count-variance": [
        ("rest * (1 - rest / missing)", "N * p * (1 - p)"),
        ("(1 - rest / missing)", "(1 - rest)"),
    ],
    "worth": [
        (".masked_fill(own, -torch.inf)", ""),
        ("w.square().sum() < ess", "w.square().sum() > ess"),
        ("-distance / v", "-distance.sqrt() / v"),
    ],
    "by-components": [
        ("+ 2 * z @ b", "+ z @ b"),
        ("mean[seen] - query[seen]", "query[seen] - mean[seen]"),
        (" + gap.square().sum()", ""),
        ("W[seen], mean[seen] - query[seen]", "W, mean - query"),  # not a number
    ],
    "next-answers": [
        ("sorted(set(seen))", "sorted(seen)"),  # twice counts twice
        ("sorted(set(seen))", "list(dict.fromkeys(seen))"),  # bits of the order
        ("new[places] = 0", "pass"),  # a second look adds
        ("(len(places) + new)", "(len(places) + 1)"),
    ],
    "plan-value": [
        ("left.amin(dim=1)", "left.amin()"),  # one second place for all
        ("w @ left.amin(dim=1)", "(w @ left).amin()"),  # whatever is seen
        ("again @ after[:, choice]", "again @ after"),  # 0 times infinity
        ("again @ after", "again.T @ after"),
    ],
    "both-scores": [
        ("torch.xlogy(p, p)", "(p * p.log())"),  # nan at 0
        (".clamp_min(1e-12)", ""),
        ("w @ H", "H.mean(dim=0)"),
        ("w @ -of_label.log()", "w @ -(of_label * of_label.log())"),
    ],
    "as-sharp": [
        ("math.log(int(free.sum()))", "math.log(len(free))"),
        (".masked_fill(~free, torch.inf)", ""),
        ("sum() < goal", "sum() > goal"),
        ("low, high = 1e-12, 1e12", "low, high = 1e-3, 1e3"),
    ],
    "aspects": [
        ("a * r, r / a", "r / a, a * r"),  # exchanged
        ("a * r, r / a", "a, 1 / a"),  # of a square picture
        ("r / a", "r / a**0.5"),
    ],
    "share-that-fits": [
        ("(a * q <= r) & (a * r <= q)", "(q <= r) & (r <= q)"),
        ("(a * q <= r) & (a * r <= q)", "a * q <= r"),  # the height forgotten
        ("torch.exp(u * math.log(2))", "1 + u / 2"),  # even in the aspect itself
        ("/ n)", ")"),
        ("torch.rand(n, generator=generator) - 1", "torch.rand(n) - 1"),
    ],
    "cells-with": [
        ("columns * rows", "columns + rows"),
        ("o <= y <= o + patch", "o <= x <= o + patch"),
        ("o <= x <= o + patch", "o < x < o + patch"),
    ],
    "chance-to-see": [
        ("math.comb(cells - m, k) / math.comb(cells, k)", "(1 - m / cells) ** k"),
        ("1 - math.comb(cells - m, k) /", "math.comb(cells - m, k) /"),
    ],
    "coverage": [
        ("seen[y : y + patch, x : x + patch] = True", "seen[y, x : x + patch] = True"),
        ("seen.double().mean().item()", "len(corners) * patch**2 / side**2"),
    ],
    "least-and-most": [
        ("patch + (n - 1) * stride", "n * patch"),
        ("(i * stride, j * stride)", "(i * stride, 0)"),  # one row, many times
        ("min(shares), max(shares)", "max(shares), min(shares)"),
    ],
    "shuffled": [
        (" - mine)", ")"),  # its own set among the others
        ("(N * (N - 1))", "N**2"),
        ("right.double() @ counts", "right.double() @ (counts > 0).double()"),
    ],
    "at-least": [
        ("dealt >= mine", "dealt > mine"),
        ("(1 + int", "(0 + int"),
        ("own[orders]", "own.flip(0)[orders]"),
    ],
    "least-overlapping": [
        ("2 * patch**2 - share", "patch**2 - share"),
        ("patch * (patch - stride)", "(patch - stride) ** 2"),  # over a corner
        ("max(0.0, overlap / most)", "overlap / most"),
    ],
    "ends": [
        ("enough[:, -1] = True", "pass"),  # never sure: stops at once
        ("sure >= threshold", "sure > threshold"),
        ("(share * right.double().mean(dim=0)).sum()", "right.double().mean()"),
    ],
    "best-ends": [
        (".argmax(dim=1)  # the first", ".sum(dim=1)  # the first"),
        ("right.double() - price * count", "right.double()"),
        ("right.double() - price * count", "right.double() - price"),
    ],
    "pull": [
        ("-1 - place, place)", "-place, place)"),  # mirrored at the cell's centre
        ('if padding == "replicate":', "if True:"),
        ("2 * sigma**2", "sigma**2"),
        ("(weight * place)", "(weight * cell)"),  # the copies' own places forgotten
    ],
    "blob-zoom": [
        ("1 + sigma**2 / s**2", "1 + s**2 / sigma**2"),
        ("1 + sigma**2 / s**2", "(1 + sigma**2 / s**2) ** 2"),  # of an area
        ("1 + sigma**2", "sigma**2"),
    ],
    "blob-width": [
        ("wanted - 1", "wanted"),
        ("wanted**2", "wanted"),
        ("sigma / math.sqrt", "sigma * math.sqrt"),
    ],
    "turned-over": [
        ("(across[:-1], across[1:])", "(across[:-1],)"),
        ("det < 0", "det > 0"),
        ("- a[..., 1] * d[..., 0]", "+ a[..., 1] * d[..., 0]"),
        ("turned / corners", "turned"),
    ],
    "both": [
        ("value.detach()", "value"),  # a slope reaches the baseline
        ("torch.where(told[:, None], alpha, gap)", "gap"),  # nothing is told
        ("/ len(log_pi)", "/ len(log_pi) / log_pi.shape[1]"),  # over glimpses too
        ("told[:, None], alpha, gap", "~told[:, None], alpha, gap"),
    ],
    "converged": [
        ("max(of.values()) - within", "max(of.values())"),
        ("steps[k]:", "steps[k + half]:"),  # at the last of the window
        ("v >= level", "v > level"),
        ("in smooth.items() if v >= level", "in raw.items() if v >= level"),
    ],
    "decided": [
        ("/ (n - 1)", "/ n"),
        ("/ math.sqrt(n)", ""),  # the spread of one seed
        ("if mean < -half", "if mean < -2 * half"),
        ("[a - b for", "[b - a for"),
    ],
    "back": [
        ("read(middle) < q", "read(middle) > q"),
        ("range(32)", "range(6)"),
        ("torch.full_like(q, -1.0)", "torch.zeros_like(q)"),
        ("range(32)", "range(60)"),  # too many calls
    ],
    "footprint": [
        ("area.abs().sqrt()", "area.abs()"),
        (".abs().sqrt()", ".clamp(min=0).sqrt()"),
        ("- across[..., 1] * down[..., 0]", ""),
        ("pixels[1:-1, :-2]) / 2", "pixels[1:-1, :-2])"),
    ],
    "level": [
        ("(a / 2).log2()", "a.log2()"),
        (".clamp(0, K - 1)", ".round().clamp(0, K - 1)"),
        (".clamp(0, K - 1)", ".clamp(min=0)"),
        (".clamp(min=0)", ""),
    ],
    "price": [
        ("2 * H * h * w", "H * h * w"),
        ("3 * H * w * W", "3 * H * h * W"),
        ("2 * H * h * w", "2 * H * h * W"),
    ],
    "evidence": [
        ("argmax()", "argmin()"),
        (".amax(dim=(1, 2))", ".mean(dim=(1, 2))"),
        (".clamp(min=0)", ""),
    ],
    "share": [
        ("M[top:bottom, left:right]", "M[left:right, top:bottom]"),
        ("/ total if total > 0 else 0.0", "/ M.numel()"),
        ("if total > 0 else 0.0", "if total > 0 else 1.0"),
    ],
    "stop": [
        ("ends[:, -1] = True", "pass"),
        (">= threshold", "> threshold + 0.1"),
        ("(at + 1)", "at"),
        ("[torch.arange(len(p)), at]", "[:, -1]"),
    ],
    "gain": [
        ("if s in other", "if s in other and s > 0"),
        ("/ len(gaps) ** 0.5", ""),
        (".std()", ".std(correction=0)"),
        ("one[s] - other[s]", "other[s] - one[s]"),
    ],
    "cropped": [
        (".clamp(-1, 1)", ""),
        ("float(twice.sum().abs())", "float(twice.sum())"),  # one way round only
        ("/ 2 / 4", "/ 4"),
        ("- x.roll(-1) * y", ""),
    ],
    "response": [
        ("2 * sigma**2", "sigma**2"),  # along one axis
        ("(s**2 + sigma**2) ** 2", "(s**2 + sigma**2)"),
        ("2 * sigma**2 * s**2", "2 * sigma**2"),
    ],
    "best-share": [
        ("side / 2 / width", "side / width"),
        ("0.5 / (", "1 / ("),
        ("return s, 0.5 / (", "return s, 2 * ("),
    ],
    "rounds": [
        ("1 / len(K) / (K @ b)", "1 / (K @ b)"),
        ("b = S / (K.T @ a)", "b = b / (K.T @ a)"),
        ("range(count)", "range(count + 1)"),
        ("K.T @ a", "K @ a"),
    ],
    "seen": [
        ("-eyes[..., 2:]", "eyes[..., 2:]"),  # away from the screen
        ("return torch.minimum(torch.maximum(dot, low), high)", "return dot"),
        (".mean(dim=1)", "[:, 0]"),  # of one eye
    ],
    "centimetre": [
        ("side / 2 / half", "side / half"),
        ("torch.tensor(view / 2)", "torch.tensor(float(view))"),
        ("reach / z * focal / z", "reach / z * focal"),
    ],
    "calibrated": [
        ("off.median(dim=0).values", "off.mean(dim=0)"),
        ("axis - line", "line - axis"),
        (".any(dim=1)", ".all(dim=1)"),
    ],
    "draw-weights": [
        ("later * a + 1 - before", "later * a + 1"),  # as if nothing had been drawn
        ("T - 1, -1, -1", "T, 0, -1"),
        (") / T", ")"),
        ("a.cumsum(dim=0) - a", "a.cumsum(dim=0)"),
    ],
    "slope-of-draws": [
        ("[drawn] - a", "[drawn]"),
        ("w * f", "f / len(f)"),  # as if drawn with replacement
        ("draw_weights(a[drawn])", "a[drawn]"),
    ],
    "best-of-stream": [
        ("-item[1]", "item[1]"),
        ("del best[kept:]", "pass"),  # everything is held
        ("    sift()\n    return", "    return"),  # the last chunk is lost
        ("item[0])", "-item[0])"),
    ],
    "price-of-selection": [
        ("3 * kept) / (3", "2 * kept) / (3"),
        ("(3 * windows)", "windows"),
        ("kept / windows", "1 - kept / windows"),
    ],
    "front": [
        ("mean[name] > best", "True"),
        ("(points[n][0], -mean[n])", "(-mean[n], points[n][0])"),
        ("statistics.fmean(values)", "max(values)"),
    ],
    "seed-gaps": [
        ("stats.t.ppf(0.975, n - 1)", "2"),  # twice the standard error
        ("0.975", "0.95"),
        ("n - 1", "n"),
        ("/ math.sqrt(n)", ""),
        ("abs(mean)", "mean"),
    ],
    "rungs": [
        ("p[at].mean().log()", "p[at].log().mean()"),  # Jensen's bound at every rung
        ("scores[at].mean(dim=0)", "scores[at].sum(dim=0)"),
        ("pi[at].prod()", "1 / len(pi) ** K"),
    ],
    "two-costs": [
        ("chance @ entropy, chance @ of_truth", "chance @ of_truth, chance @ entropy"),
        ("chance @ entropy", "entropy.mean(dim=0)"),
        ("label]  # (N, n)", "0]  # (N, n)"),  # of one class, not of the true one
    ],
    "honest-factor": [
        ("min(factors", "max(factors"),
        (".abs())", ")"),  # the smallest difference, with its sign
        ("factor * scores", "scores / factor"),
    ],
    "curl": [
        ("slopes - slopes.T", "slopes + slopes.T"),
        ("(2 * step)", "step"),
        ("field(at - d)", "field(at)"),
    ],
    "turn-left": [
        ("+ torch.eye(2)", ""),
        ("A[:, 0, 1] - A[:, 1, 0]", "A[:, 1, 0] - A[:, 0, 1]"),  # y upwards
        ("A[:, 0, 0] + A[:, 1, 1]", "A[:, 0, 0]"),
        ("angle - torch", "angle + torch"),
    ],
    "around": [
        ("torch.atan2(a.sin().sum(), a.cos().sum())", "a.mean()"),  # no wrapping
        ("torch.atan2((a - mean).sin(), (a - mean).cos())", "a - mean"),
        (".square().mean().sqrt()", ".abs().mean()"),
    ],
    "bootstrap": [
        ("(n, len(x))", "(n, 1)"),  # one seed a task
        ("/ len(scores)", ""),
        ("(1 - level) / 2, (1 + level) / 2", "1 - level, level"),
        ("x[drawn].mean(dim=1)", "x[drawn[:1]].mean(dim=1)"),  # one resample for all
    ],
    "few": [
        ("math.comb(2 * n - 1, n)", "n**n"),  # in order
        ("n**-n", "n ** (1 - n)"),  # any score, n times
        ("(1 - n)", "-n"),
    ],
    "flips": [
        ("/ len(of) / len(gaps)", ""),  # every seed counts alike
        (".abs() - 1e-9", " - 1e-9"),
        ("(signs @ weighted).abs()", "signs @ weighted"),  # one side
        ("2 / 2 **", "1 / 2 **"),
    ],
    "welch": [
        ("/ (n - 1) / n", "/ n / n"),
        ("part**2 / (n - 1)", "part**2 / n"),
        ("nu = v**2 /", "nu = v /"),
        ("(1 + level) / 2", "level"),
    ],
    "holm": [
        ("(len(p) - rank)", "len(p)"),  # Bonferroni's
        ("max(floor, min(1.0, (len(p) - rank) * p[k]))", "(len(p) - rank) * p[k]"),
        ("found[k] = floor", "found[rank] = floor"),  # in sorted order
        ("min(1.0, (len(p) - rank) * p[k])", "(len(p) - rank) * p[k]"),
    ],
    "decided-by": [
        ("if s in base]", "if s in base and s > 0]"),
        ("> 2 * error and one_sign", "> 2 * error"),
        ("/ (n - 1) / n)", "/ n / n)"),
        ("n - 1))", "n))"),
        ("holm([*p.values()])", "[len(p) * x for x in p.values()]"),
    ],
    "parts-of": [
        ('rpartition("_")', 'partition("_")'),  # at the first mark
        ("[0] or stem", "[0]"),  # all names without a mark are one group
        ("{seed}:{group}", "{seed}:{name}"),  # each image by itself
        ("[:8]", "[8:16]"),  # other bytes (their order is no matter: 256 % 5 is 1)
    ],
    "box-and-level": [
        ("x + sign * scale + 1) / 2", "x + sign * scale / 2 + 1) / 2"),
        ("min(width, height)", "max(width, height)"),
        (">= size", "> size"),  # a window of exactly as many pixels
        ("range(levels)", "range(levels + 9)"),
        ("default=0", "default=levels - 1"),
    ],
    "paired-gain": [
        ("unbiased=True", "unbiased=False"),
        ("abs(mean) > 2", "mean > 2"),  # a loss may be decided too
        ("len(difference) ** 0.5", "len(difference)"),
        ("one.double() - other.double()", "other.double() - one.double()"),
    ],
}
