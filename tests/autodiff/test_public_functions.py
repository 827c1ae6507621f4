"""Every public function of NumPy, and of scipy.special: what a gradient makes of it has been decided.

A function has a rule or is written in others, or is constant: that is read from the library's own tables. All others
stand here, under the reason why. A function that is new in NumPy or SciPy fails the test until somebody decides.
"""

import warnings

import numpy as np
import pytest
from scipy import special

import tinyflux as flux
from tinyflux.autodiff import tape
from tinyflux.autodiff.rules import special as _special  # noqa: F401  (fills the table)

TRICKS = ("sliding_window_view", "as_strided", "broadcast_to", "broadcast_arrays", "broadcast_shapes")

# Refused by name: NotImplementedError names the function, and says how to add a rule.
REFUSED = {
    "differentiable, but seldom met with a gradient": """
        np.astype np.frexp np.piecewise np.poly np.polyadd np.polyder np.polydiv np.polyfit np.polyint np.polymul
        np.polysub np.roots np.trim_zeros np.linalg.eig np.linalg.eigvals
    """,
    "for complex numbers": """
        np.angle np.real_if_close np.sort_complex
    """,
    "for integers, bits and dates": """
        np.bitwise_and np.bitwise_count np.bitwise_or np.bitwise_xor np.gcd np.invert np.lcm np.left_shift
        np.right_shift np.packbits np.unpackbits np.isnat np.busday_count np.busday_offset np.is_busday
        np.datetime_as_string
    """,
    "sets, counts and searches, whose results jump": """
        np.unique np.unique_all np.unique_counts np.unique_inverse np.unique_values np.intersect1d np.union1d
        np.setdiff1d np.setxor1d np.histogram np.histogram2d np.histogramdd np.isneginf np.isposinf np.array_equiv
        np.iscomplex np.isreal np.common_type np.min_scalar_type
    """,
    "as text, and to files": """
        np.array2string np.array_repr np.array_str np.save np.savetxt np.savez np.savez_compressed
    """,
    "what calls a function of Python's": """
        np.apply_over_axes np.einsum_path
    """,
}

IN_PLACE = "np.copyto np.fill_diagonal np.place np.put np.put_along_axis np.putmask"  # refused, too: a TypeError

# Of scipy.special the ufuncs are refused by name, too; its other functions are written in Python.
SPECIAL = {
    "derivatives known, but seldom met with a gradient": """
        agm airy airye bei beip ber berp besselpoly betaincc betainccinv betaincinv binom cbrt cosdg cotdg ellipe
        ellipeinc ellipj ellipk ellipkinc ellipkm1 elliprc elliprd elliprf elliprg elliprj erfi exp2 expm1 expn fresnel
        gammainccinv gammaincinv gammasgn hankel1 hankel1e hankel2 hankel2e hyp0f1 hyp1f1 hyp2f1 hyperu inv_boxcox
        inv_boxcox1p it2i0k0 it2j0y0 it2struve0 itairy iti0k0 itj0y0 itmodstruve0 itstruve0 iv ive jn jv jve k0 k0e k1
        k1e kei keip kelvin ker kerp kn kv kve lambertw log1p log_wright_bessel lpmv modfresnelm modfresnelp modstruve
        ndtri_exp owens_t pbdv pbvv pbwa poch powm1 radian round shichi sici sindg spence struve tandg tklmbda
        voigt_profile wofz wright_bessel wrightomega y0 y1 yn yv yve zetac _zeta
    """,
    "distributions, and the inverses of distributions": """
        bdtr bdtrc bdtri bdtrik bdtrin btdtr btdtri btdtria btdtrib chdtr chdtrc chdtri chdtriv chndtr chndtridf
        chndtrinc chndtrix
        fdtr fdtrc fdtri fdtridfd gdtr gdtrc gdtria gdtrib gdtrix kolmogi kolmogorov nbdtr nbdtrc nbdtri nbdtrik nbdtrin
        ncfdtr ncfdtri ncfdtridfd ncfdtridfn ncfdtrinc nctdtr nctdtridf nctdtrinc nctdtrit nrdtrimn nrdtrisd pdtr pdtrc
        pdtri pdtrik smirnov smirnovi stdtr stdtridf stdtrit
    """,
    "orthogonal polynomials, and functions of physics": """
        eval_chebyc eval_chebys eval_chebyt eval_chebyu eval_gegenbauer eval_genlaguerre eval_hermite eval_hermitenorm
        eval_jacobi eval_laguerre eval_legendre eval_sh_chebyt eval_sh_chebyu eval_sh_jacobi eval_sh_legendre mathieu_a
        mathieu_b mathieu_cem mathieu_modcem1 mathieu_modcem2 mathieu_modsem1 mathieu_modsem2 mathieu_sem obl_ang1
        obl_ang1_cv obl_cv obl_rad1 obl_rad1_cv obl_rad2 obl_rad2_cv pro_ang1 pro_ang1_cv pro_cv pro_rad1 pro_rad1_cv
        pro_rad2 pro_rad2_cv sph_harm ellip_harm
    """,
}

# Nothing that a gradient could flow through: no array of numbers goes in, or none comes out.
BY_NATURE = {
    "makes arrays from none": """
        np.arange np.bartlett np.blackman np.diag_indices np.empty np.eye np.from_dlpack np.frombuffer np.fromfile
        np.fromfunction np.fromiter np.fromregex np.fromstring np.genfromtxt np.hamming np.hanning np.identity
        np.indices np.kaiser np.load np.loadtxt np.mask_indices np.ones np.tri np.tril_indices np.triu_indices np.zeros
    """,
    "makes a plain array, which a box refuses to become": """
        np.asarray_chkfinite np.asmatrix
        np.bmat np.require np.lib.stride_tricks.as_strided
    """,
    "an old name of another": """
        np.in1d np.row_stack np.trapz
    """,
    "about types, settings, and Python": """
        np.base_repr np.binary_repr np.broadcast_shapes np.datetime_data np.format_float_positional
        np.format_float_scientific np.frompyfunc np.get_include np.get_printoptions np.getbufsize np.geterr
        np.geterrcall np.info np.isdtype np.isfortran np.isscalar np.issubdtype np.iterable np.mintypecode
        np.nested_iters np.printoptions np.promote_types np.set_printoptions np.setbufsize np.seterr np.seterrcall
        np.show_config np.show_runtime np.test np.typename np.linalg.test np.lib.stride_tricks.broadcast_shapes
        special.geterr special.seterr special.test
    """,
    "written in Python, for numbers, orders, roots and polynomials": """
        special.ai_zeros special.assoc_laguerre special.assoc_legendre_p special.assoc_legendre_p_all special.bei_zeros
        special.beip_zeros special.ber_zeros special.bernoulli special.berp_zeros special.bi_zeros special.c_roots
        special.cg_roots special.chebyc special.chebys special.chebyt special.chebyu special.clpmn special.comb
        special.diric special.ellip_harm_2 special.ellip_normal special.erf_zeros special.euler special.factorial
        special.factorial2 special.factorialk special.fresnel_zeros special.fresnelc_zeros special.fresnels_zeros
        special.gegenbauer special.genlaguerre special.h1vp special.h2vp special.h_roots special.he_roots
        special.hermite special.hermitenorm special.ivp special.j_roots special.jacobi special.jn_zeros
        special.jnjnp_zeros special.jnp_zeros special.jnyn_zeros special.js_roots special.jvp special.kei_zeros
        special.keip_zeros special.kelvin_zeros special.ker_zeros special.kerp_zeros special.kvp special.l_roots
        special.la_roots special.laguerre special.legendre special.legendre_p special.legendre_p_all special.lmbda
        special.log_softmax special.logsumexp special.lpmn special.lpn special.lqmn special.lqn
        special.mathieu_even_coef special.mathieu_odd_coef special.multigammaln special.obl_cv_seq special.p_roots
        special.pbdn_seq special.pbdv_seq special.pbvv_seq special.perm special.polygamma special.pro_cv_seq
        special.ps_roots special.riccati_jn special.riccati_yn special.roots_chebyc special.roots_chebys
        special.roots_chebyt special.roots_chebyu special.roots_gegenbauer special.roots_genlaguerre
        special.roots_hermite special.roots_hermitenorm special.roots_jacobi special.roots_laguerre
        special.roots_legendre special.roots_sh_chebyt special.roots_sh_chebyu special.roots_sh_jacobi
        special.roots_sh_legendre special.s_roots special.sh_chebyt special.sh_chebyu special.sh_jacobi
        special.sh_legendre special.softmax special.softplus special.sph_harm_y special.sph_harm_y_all
        special.sph_legendre_p special.sph_legendre_p_all special.spherical_in special.spherical_jn special.spherical_kn
        special.spherical_yn special.stirling2 special.t_roots special.ts_roots special.u_roots special.us_roots
        special.y0_zeros special.y1_zeros special.y1p_zeros special.yn_zeros special.ynp_zeros special.yvp special.zeta
    """,
}


def public():
    """All functions by name; where a function has several, each of them."""
    spaces = {"np": (np, dir(np)), "np.linalg": (np.linalg, dir(np.linalg)), "special": (special, special.__all__)}
    spaces["np.lib.stride_tricks"] = np.lib.stride_tricks, TRICKS
    found = {}
    for space, (module, names) in spaces.items():
        for name in names:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # some names are there to say that they are gone
                x = None if name.startswith("_") else getattr(module, name, None)
            if callable(x) and not isinstance(x, type):
                found[f"{space}.{name}"] = x
    return found


def named(categories, prefix=""):
    return [prefix + name for words in categories.values() for name in words.split()]


FUNCTIONS = public()
LISTED = [*named(REFUSED), *IN_PLACE.split(), *named(SPECIAL, "special."), *named(BY_NATURE)]
IN_TABLES = {id(f) for f in [*tape.rules, *tape.compositions, *tape.constants]}


def listed_functions():
    return {id(FUNCTIONS[name]): name for name in LISTED if name in FUNCTIONS}


def test_every_function_has_been_decided():
    known = IN_TABLES | listed_functions().keys()
    new = [name for name, f in FUNCTIONS.items() if id(f) not in known]
    assert not new, f"decide what a gradient makes of {', '.join(new)}: a rule, constant(…), or a line in this file"


def test_nothing_is_listed_that_the_tables_have():
    both = [name for f, name in listed_functions().items() if f in IN_TABLES]
    assert not both, f"take out of this file: {' '.join(both)}"
    assert len(set(LISTED)) == len(LISTED)


def test_what_the_tables_have_is_still_there():
    """A name of ours that NumPy or SciPy no longer has."""
    own = [f for f in [*tape.rules, *tape.compositions, *tape.constants] if isinstance(f, np.ufunc)]
    gone = [tape.name_of(f) for f in own if id(f) not in set(map(id, FUNCTIONS.values()))]
    assert not gone, gone


def calls(f, x):
    """Arguments with which a function may be called."""
    if isinstance(f, np.ufunc):
        return [(x,) * f.nin]
    y = np.ones(2)
    vectors = [(x,), (x, x), ([x, x],), (x, 1), (x, [1], 0.5), (x, x, x), ([x > 0], [x]), (x, [x > 0], [1.0])]
    others = [(y, x), (0, x), (np.sum, 0, x), (np.sum, x, 0), ("f", x), ("ij,jk", x, x), (y, y > 0, x), (y, 0, x)]
    return [*vectors, *others, (y, x, 1), (y, np.array([0]), x, 0), ([0, 1], [x, x]), (x,) * 4, (x,) * 5]


REFUSED_NAMES = [name for name in [*named(REFUSED), *named(SPECIAL, "special.")] if name in FUNCTIONS]


def errors_of(f, kind):
    """The messages of all errors of a kind that calls of a function come to, with boxes for arguments."""
    messages = []

    def attempt(x):
        for box in (x, x * np.ones((2, 1))):
            for args in calls(f, box):
                try:
                    f(*args)
                except kind as error:
                    messages.append(str(error))
                except (TypeError, ValueError, IndexError, AttributeError, np.linalg.LinAlgError):
                    pass
        return np.sum(x)

    flux.gradient(attempt, np.ones(2))
    return messages


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning", "ignore:Converting input from bool:RuntimeWarning")
@pytest.mark.parametrize("name", REFUSED_NAMES)
def test_refused_by_name(name):
    """The function, given an array that is being differentiated, raises NotImplementedError with its name."""
    f = FUNCTIONS[name]
    messages = errors_of(f, NotImplementedError)
    first, _, last = tape.name_of(f).rpartition(".")
    own = (f"{first}.{last} has no", f"{first}._{last} has no", f"scipy.special._{last} has no")  # called by another
    assert messages, "it was never refused"
    assert any(message.startswith(own) for message in messages), messages[0]
    assert all("flux.rule" in message for message in messages)


@pytest.mark.parametrize("name", IN_PLACE.split())
def test_refused_as_in_place(name):
    messages = errors_of(FUNCTIONS[name], TypeError)
    assert any(message.startswith(f"{name} would change an array in place") for message in messages)


@pytest.mark.filterwarnings("ignore")
def test_no_call_is_endless():
    """Wherever a box is put, a function that has a rule answers, or says what is wrong."""
    endless = set()

    def attempt(x):
        for name, f in FUNCTIONS.items():
            if id(f) in IN_TABLES:
                for args in [*calls(f, x), *calls(f, x * np.ones((2, 1)))]:
                    try:
                        f(*args)
                    except RecursionError:
                        endless.add(name)
                    except Exception:  # many of these calls make no sense
                        pass
        return np.sum(x)

    with np.errstate(all="ignore"):
        flux.gradient(attempt, np.ones(2))
    assert not endless
