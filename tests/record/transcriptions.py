"""The optimisers once more, as the formulas of their papers on single numbers: no arrays, and nothing of tinyflux.

Every function bears the name of its rule and has its hyperparameters. It takes a parameter x, a gradient for every step
t = 1, 2, ... and a factor on η for every step, and yields x after each of them. All but YellowFin, Muon and SOAP treat
every number of an array on its own. SOAP alone takes arrays, whose decompositions are NumPy's.
"""

import math

import numpy as np


def sign(number):
    return (number > 0) - (number < 0)


def Descent(x, gradients, factors, eta=0.1):
    for g, factor in zip(gradients, factors):
        x = x - eta * factor * g
        yield x


def Momentum(x, gradients, factors, eta=0.01, rho=0.9, form="flux"):
    v = 0.0
    for g, factor in zip(gradients, factors):
        if form == "flux":
            v = rho * v + eta * factor * g
            x = x - v
        if form == "torch":
            v = rho * v + g
            x = x - eta * factor * v
        yield x


def Nesterov(x, gradients, factors, eta=0.001, rho=0.9):
    v = 0.0
    for g, factor in zip(gradients, factors):
        x = x - ((1 + rho) * eta * factor * g - rho**2 * v)
        v = rho * v - eta * factor * g
        yield x


def RMSProp(x, gradients, factors, eta=0.001, rho=0.9, epsilon=1e-8, centred=False):
    q = mean = 0.0
    for g, factor in zip(gradients, factors):
        q = rho * q + (1 - rho) * g**2
        mean = rho * mean + (1 - rho) * g
        x = x - eta * factor * g / (math.sqrt(q - mean**2 if centred else q) + epsilon)
        yield x


def Adam(x, gradients, factors, eta=0.001, beta=(0.9, 0.999), epsilon=1e-8):
    m = v = 0.0
    for t, (g, factor) in enumerate(zip(gradients, factors), 1):
        m = beta[0] * m + (1 - beta[0]) * g
        v = beta[1] * v + (1 - beta[1]) * g**2
        m_hat = m / (1 - beta[0] ** t)
        v_hat = v / (1 - beta[1] ** t)
        x = x - eta * factor * m_hat / (math.sqrt(v_hat) + epsilon)
        yield x


def AdaMax(x, gradients, factors, eta=0.001, beta=(0.9, 0.999), epsilon=1e-8):
    m = u = 0.0
    for t, (g, factor) in enumerate(zip(gradients, factors), 1):
        m = beta[0] * m + (1 - beta[0]) * g
        u = max(beta[1] * u, abs(g))
        x = x - eta * factor / (1 - beta[0] ** t) * m / (u + epsilon)
        yield x


def AdaGrad(x, gradients, factors, eta=0.1, epsilon=1e-8, initial=None):
    total = epsilon if initial is None else initial
    for g, factor in zip(gradients, factors):
        total = total + g**2
        x = x - eta * factor * g / (math.sqrt(total) + epsilon)
        yield x


def AdaDelta(x, gradients, factors, rho=0.9, epsilon=1e-8):
    a = d = 0.0
    for g, _ in zip(gradients, factors):
        a = rho * a + (1 - rho) * g**2
        delta = g * math.sqrt(d + epsilon) / math.sqrt(a + epsilon)
        d = rho * d + (1 - rho) * delta**2
        x = x - delta
        yield x


def AMSGrad(x, gradients, factors, eta=0.001, beta=(0.9, 0.999), epsilon=1e-8, form="flux"):
    m = v = w = epsilon if form == "flux" else 0.0
    for t, (g, factor) in enumerate(zip(gradients, factors), 1):
        m = beta[0] * m + (1 - beta[0]) * g
        v = beta[1] * v + (1 - beta[1]) * g**2
        if form == "flux":
            w = max(w, v)
            delta = m / (math.sqrt(w) + epsilon)
        if form == "torch":
            w = max(w, v)
            delta = m / (1 - beta[0] ** t) / (math.sqrt(w / (1 - beta[1] ** t)) + epsilon)
        if form == "optax":
            w = max(w, v / (1 - beta[1] ** t))
            delta = m / (1 - beta[0] ** t) / (math.sqrt(w) + epsilon)
        x = x - eta * factor * delta
        yield x


def NAdam(x, gradients, factors, eta=0.001, beta=(0.9, 0.999), epsilon=1e-8, psi=None):
    m = v = 0.0
    product = 1.0
    for t, (g, factor) in enumerate(zip(gradients, factors), 1):
        m = beta[0] * m + (1 - beta[0]) * g
        v = beta[1] * v + (1 - beta[1]) * g**2
        v_hat = v / (1 - beta[1] ** t)
        if psi is None:
            ahead = beta[0] * m / (1 - beta[0] * beta[0] ** t) + (1 - beta[0]) * g / (1 - beta[0] ** t)
            delta = ahead / (math.sqrt(beta[1] * v_hat) + epsilon)
        else:
            mu, mu_next = (beta[0] * (1 - 0.96 ** (s * psi) / 2) for s in (t, t + 1))
            product = product * mu
            ahead = mu_next * m / (1 - product * mu_next) + (1 - mu) * g / (1 - product)
            delta = ahead / (math.sqrt(v_hat) + epsilon)
        x = x - eta * factor * delta
        yield x


def RAdam(x, gradients, factors, eta=0.001, beta=(0.9, 0.999), epsilon=1e-8):
    m = v = 0.0
    limit = 2 / (1 - beta[1]) - 1
    for t, (g, factor) in enumerate(zip(gradients, factors), 1):
        m = beta[0] * m + (1 - beta[0]) * g
        v = beta[1] * v + (1 - beta[1]) * g**2
        m_hat = m / (1 - beta[0] ** t)
        v_hat = v / (1 - beta[1] ** t)
        length = limit - 2 * t * beta[1] ** t / (1 - beta[1] ** t)
        if length > 4:
            r = math.sqrt((length - 4) * (length - 2) * limit / ((limit - 4) * (limit - 2) * length))
            x = x - eta * factor * r * m_hat / (math.sqrt(v_hat) + epsilon)
        else:
            x = x - eta * factor * m_hat
        yield x


def OAdam(x, gradients, factors, eta=0.001, beta=(0.5, 0.9), epsilon=1e-8):
    m = v = last = 0.0
    for t, (g, factor) in enumerate(zip(gradients, factors), 1):
        m = beta[0] * m + (1 - beta[0]) * g
        v = beta[1] * v + (1 - beta[1]) * g**2
        step = eta * factor * m / (1 - beta[0] ** t) / (math.sqrt(v / (1 - beta[1] ** t)) + epsilon)
        x = x - (2 * step - last)
        last = step
        yield x


def AdaBelief(x, gradients, factors, eta=0.001, beta=(0.9, 0.999), epsilon=1e-16):
    m = s = 0.0
    for t, (g, factor) in enumerate(zip(gradients, factors), 1):
        m = beta[0] * m + (1 - beta[0]) * g
        s = beta[1] * s + (1 - beta[1]) * (g - m) ** 2 + epsilon
        x = x - eta * factor * m / (1 - beta[0] ** t) / (math.sqrt(s / (1 - beta[1] ** t)) + epsilon)
        yield x


def AdamW(x, gradients, factors, eta=0.001, beta=(0.9, 0.999), lambda_=0.01, epsilon=1e-8, couple=True):
    m = v = 0.0
    for t, (g, factor) in enumerate(zip(gradients, factors), 1):
        m = beta[0] * m + (1 - beta[0]) * g
        v = beta[1] * v + (1 - beta[1]) * g**2
        adam = m / (1 - beta[0] ** t) / (math.sqrt(v / (1 - beta[1] ** t)) + epsilon)
        if couple:
            x = x - eta * factor * (adam + lambda_ * x)
        else:
            x = x - (eta * factor * adam + lambda_ * x)
        yield x


def Lion(x, gradients, factors, eta=0.001, beta=(0.9, 0.99)):
    m = 0.0
    for g, factor in zip(gradients, factors):
        x = x - eta * factor * sign(beta[0] * m + (1 - beta[0]) * g)
        m = beta[1] * m + (1 - beta[1]) * g
        yield x


def ASGD(x, gradients, factors, eta=0.01, lambda_=1e-4, alpha=0.75, t0=1e6):
    """As torch.optim has it: the rate is worked out for the step to come, so a new η counts from the step after."""
    for x, _ in asgd(x, gradients, factors, eta, lambda_, alpha, t0):  # noqa: B020
        yield x


def asgd(x, gradients, factors, eta, lambda_, alpha, t0):
    """x and the average of x from step t0 on."""
    average, mu, rate = 0.0, 1.0, eta * factors[0]
    for t, (g, factor) in enumerate(zip(gradients, factors), 1):
        x = (1 - lambda_ * rate) * x - rate * g
        average = average + mu * (x - average)
        rate = eta * factor / (1 + lambda_ * eta * factor * t) ** alpha
        mu = 1 / max(1, t - t0)
        yield x, average


def Padam(x, gradients, factors, eta=0.1, beta=(0.9, 0.999), epsilon=1e-8, p=1 / 8, form="paper"):
    m = v = w = 0.0
    for t, (g, factor) in enumerate(zip(gradients, factors), 1):
        m = beta[0] * m + (1 - beta[0]) * g
        v = beta[1] * v + (1 - beta[1]) * g**2
        w = max(w, v)
        if form == "paper":
            x = x - (eta * factor * m / w**p if w > 0 else 0.0)
        if form == "code":
            rate = eta * factor * math.sqrt(1 - beta[1] ** t) / (1 - beta[0] ** t)
            x = x - rate * m / (math.sqrt(w) + epsilon) ** (2 * p)
        yield x


def QHM(x, gradients, factors, eta=0.1, nu=0.7, beta=0.999):
    b = 0.0
    for g, factor in zip(gradients, factors):
        b = beta * b + (1 - beta) * g
        x = x - eta * factor * ((1 - nu) * g + nu * b)
        yield x


def QHAdam(x, gradients, factors, eta=0.001, nu=(0.7, 1.0), beta=(0.9, 0.999), epsilon=1e-8):
    m = v = 0.0
    for t, (g, factor) in enumerate(zip(gradients, factors), 1):
        m = beta[0] * m + (1 - beta[0]) * g
        v = beta[1] * v + (1 - beta[1]) * g**2
        above = (1 - nu[0]) * g + nu[0] * m / (1 - beta[0] ** t)
        below = math.sqrt((1 - nu[1]) * g**2 + nu[1] * v / (1 - beta[1] ** t)) + epsilon
        x = x - eta * factor * above / below
        yield x


def AggMo(x, gradients, factors, eta=0.1, beta=(0.0, 0.9, 0.99)):
    velocities = [0.0 for _ in beta]
    for g, factor in zip(gradients, factors):
        velocities = [b * v + g for b, v in zip(beta, velocities)]
        x = x - eta * factor * sum(velocities) / len(beta)
        yield x


def demon(start, steps, t):
    """The momentum of Demon at step t, counted from 0."""
    left = 1 - t / steps
    return start * left / ((1 - start) + start * left)


def demon_momentum(x, gradients, factors, eta, start, steps):
    v = 0.0
    for t, (g, factor) in enumerate(zip(gradients, factors)):
        v = demon(start, steps, t) * v + eta * factor * g
        x = x - v
        yield x


def demon_adam(x, gradients, factors, eta, start, steps, beta2=0.999, epsilon=1e-8):
    """The weights of the past gradients add up to 1 − Π β₁: that, not 1 − β₁ᵗ, corrects a β₁ that changes."""
    m = v = 0.0
    product = 1.0
    for t, (g, factor) in enumerate(zip(gradients, factors), 1):
        beta1 = demon(start, steps, t - 1)
        product = product * beta1
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        x = x - eta * factor * m / (1 - product) / (math.sqrt(v / (1 - beta2**t)) + epsilon)
        yield x


class Average:
    """An exponential average from 0, without the bias towards 0."""

    def __init__(self, beta):
        self.beta, self.sum, self.weight = beta, 0.0, 0.0

    def __call__(self, value):
        self.sum = self.beta * self.sum + (1 - self.beta) * value
        self.weight = self.beta * self.weight + (1 - self.beta)
        return self.sum / self.weight


def single_step(variance, distance, h_max, h_min):
    """√μ and α: μ minimises μD² + α²C, of those above the least that the curvature range allows; α = (1−√μ)²/h_min.

    The derivative with respect to √μ rises, so its root is bisected; y stands for 1 − √μ.
    """
    low, high = 0.0, 1.0
    for _ in range(200):
        y = (low + high) / 2
        if 2 * y**3 * variance > (1 - y) * (distance * h_min) ** 2:
            high = y
        else:
            low = y
    y = min(y, 2 / (math.sqrt(h_max / h_min) + 1))
    return 1 - y, y**2 / h_min


def YellowFin(x, gradients, factors, eta=1.0, beta=0.999, window=20):
    """On a list of numbers: what it measures are sums over all of them. A gradient of zeros measures nothing."""
    size = len(x)
    recent = []
    log_max, log_min, norms, curvatures, distances = (Average(beta) for _ in range(5))
    squares = [Average(beta) for _ in range(size)]
    means = [Average(beta) for _ in range(size)]
    velocity = [0.0] * size
    root_mu = alpha = 0.0
    for g, factor in zip(gradients, factors):
        h = math.fsum(gi**2 for gi in g)
        if h > 0:
            recent = [*recent, h][-window:]
            h_max = math.exp(log_max(math.log(max(recent))))
            h_min = math.exp(log_min(math.log(min(recent))))
            variance = math.fsum(square(gi**2) - mean(gi) ** 2 for square, mean, gi in zip(squares, means, g))
            distance = distances(norms(math.sqrt(h)) / curvatures(h))
            root_mu, alpha = single_step(max(variance, 0.0), distance, h_max, h_min)
        velocity = [root_mu**2 * vi + eta * factor * alpha * gi for vi, gi in zip(velocity, g)]
        x = [xi - vi for xi, vi in zip(x, velocity)]
        yield x


def product(p, q):
    return [[math.fsum(a * b for a, b in zip(row, column)) for column in zip(*q)] for row in p]


def combined(p, x, q, y):
    """px + qy for matrices x and y."""
    return [[p * a + q * b for a, b in zip(row, other)] for row, other in zip(x, y)]


def orthogonalised(x):
    """Five steps of the quintic Newton–Schulz iteration; it has the smaller side in rows."""
    if len(x) > len(x[0]):
        return [list(row) for row in zip(*orthogonalised([list(row) for row in zip(*x)]))]
    norm = max(math.sqrt(math.fsum(a * a for row in x for a in row)), 1e-7)
    x = [[a / norm for a in row] for row in x]
    for _ in range(5):
        xxt = product(x, [list(row) for row in zip(*x)])
        cubic = product(xxt, x)
        x = combined(1, combined(3.4445, x, -4.7750, cubic), 2.0315, product(xxt, cubic))
    return x


def Muon(x, gradients, factors, eta=0.02, rho=0.95, lambda_=0.0, form="original", others="AdamW()"):
    """On a list of rows. What `others` steps is no matrix."""
    rows, columns = len(x), len(x[0])
    scale = {"original": math.sqrt(max(1, rows / columns)), "match_rms_adamw": 0.2 * math.sqrt(max(rows, columns))}
    buffer = [[0.0] * columns for _ in x]
    for g, factor in zip(gradients, factors):
        buffer = combined(rho, buffer, 1 - rho, g)
        update = orthogonalised(combined(rho, buffer, 1 - rho, g))
        x = combined(1 - eta * factor * lambda_, x, -eta * factor * scale[form], update)
        yield x


def SOAP(x, gradients, factors, eta=0.003, beta=(0.95, 0.95), lambda_=0.01, epsilon=1e-8, every=10, max_size=10_000):
    """On a matrix or a vector, as in the published program: axis by axis, with the average m in the basis of today."""
    axes = [axis for axis, size in enumerate(x.shape) if x.ndim > 1 and size <= max_size]
    grams = {axis: np.zeros((x.shape[axis], x.shape[axis])) for axis in axes}
    bases = {}
    m, v = np.zeros_like(x), np.zeros_like(x)

    def project(a, back=False):
        for axis in axes:
            basis = bases[axis] if back else bases[axis].T
            a = np.moveaxis(np.tensordot(basis, a, (1, axis)), 0, axis)
        return a

    for t, (g, factor) in enumerate(zip(gradients, factors)):
        if t > 0:
            projected = project(g)
            m = beta[0] * m + (1 - beta[0]) * projected
            v = beta[1] * v + (1 - beta[1]) * projected**2
            rate = eta * factor * math.sqrt(1 - beta[1] ** t) / (1 - beta[0] ** t)
            x = x - rate * project(m / (np.sqrt(v) + epsilon), back=True)
            x = x - eta * factor * lambda_ * x
            m = project(m, back=True)
        for axis in axes:
            outer = g @ g.T if axis == 0 else g.T @ g
            grams[axis] = grams[axis] + (1 - beta[1]) * (outer - grams[axis])
            if t == 0:
                _, vectors = np.linalg.eigh(grams[axis] + 1e-30 * np.eye(len(outer)))
                bases[axis] = np.flip(vectors, 1)
            elif t % every == 0:
                estimated = np.diag(bases[axis].T @ grams[axis] @ bases[axis])
                order = np.argsort(estimated)[::-1]
                v = np.take(v, order, axis)
                bases[axis], _ = np.linalg.qr(grams[axis] @ bases[axis][:, order])
        if t > 0:
            m = project(m)
        yield x
